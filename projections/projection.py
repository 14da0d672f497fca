"""What a projection is: a fold of the log into tables that can be thrown away and built again."""

from collections.abc import Sequence
from typing import Any, Protocol

from psycopg import AsyncConnection

from domain.event import Recorded

Connection = AsyncConnection[Any]


class Projection(Protocol):
    """One read model. Its tables carry its version in their names.

    A new version is built beside the old one, so a version's tables never change shape.
    """

    name: str
    version: int
    tables: str  # SQL that creates its tables and indexes where they are missing.

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold events of one org, in order of position, into the tables.

        Runs inside a transaction that also moves the checkpoint; search_path is `projections`.
        Reads and writes only its own tables, and looks at no clock: the same events give the
        same rows, for ever, in whatever batches they come.
        """
