"""What a projection is: a fold of the log into tables that can be thrown away and built again."""

from collections.abc import Sequence
from typing import Any, Protocol

from psycopg import AsyncConnection

from domain.event import Recorded

Connection = AsyncConnection[Any]


class Projection(Protocol):
    """One read model. Its builds (see builds.py) are complete sets of its tables.

    A new version of the code reads and fills builds of its own, so those of a version never change
    shape. All tables' names begin with the projection's, for a search_path finds several.
    """

    name: str
    version: int
    tables: str  # SQL that creates its tables with their keys and indexes, in an empty schema.

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold events of one org, in order of position, into the tables.

        Runs inside a transaction that also moves the checkpoint; search_path is the build's.
        Reads and writes only its own tables, and looks at no clock: the same events give the
        same rows, for ever, in whatever batches they come.
        """
