"""What a projection is: a fold of the log into tables that can be thrown away and built again."""

from collections.abc import Collection, Sequence
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
    is_watched: bool  # People look at it and wait: it goes before those that are not.

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold events of one org, in order of position, into the tables.

        Runs inside a transaction that also moves the checkpoint; search_path is the build's.
        Reads and writes only its own tables, and looks at no clock: the same events give the
        same rows, for ever, in whatever batches they come.
        """


class Filling(Protocol):
    """How a rebuild fills a projection from whole streams, which is faster than event by event.

    It gives the rows that `apply` would give up to the same position, and `apply` goes on from
    there. A projection that has one has it as its attribute `filling`.
    """

    tables: str  # SQL that creates the tables bare,
    indexes: str  # and what gives them their keys and indexes once they are full.
    # Kinds of streams (`chat` of `chat:…`), filled one after the other; the streams of a kind are
    # filled in slices, at once. Other kinds are nothing to it.
    stream_order: tuple[str, ...]
    event_types: Collection[str]  # Those that it looks at; others do not come to `fill`.

    async def fill(
        self, connection: Connection, org: int, streams: Sequence[Sequence[Recorded]]
    ) -> None:
        """Whole streams up to the build's position, into tables that hold nothing of them yet."""

    async def finish(self, connection: Connection, org: int) -> None:
        """Once all streams of the org are filled: what depends on several of them."""


def filling_of(projection: Projection) -> Filling | None:
    """How a rebuild may fill it, if not event by event."""
    return getattr(projection, "filling", None)
