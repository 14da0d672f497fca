"""Builds: complete sets of a projection's tables, of which one is live and serves.

Each lies in a schema of its own, where its tables have the same names; so a transaction decides
by its search_path which builds it reads or fills.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from psycopg_pool import AsyncConnectionPool

from projections.engine.projection import Connection, Projection
from projections.engine.transactions import transaction

State = Literal["building", "ready", "live", "previous"]

_BUILDS = """
SELECT projection, version, build, state
  FROM trunkline.builds
 WHERE family = ANY (%s::text[])
 ORDER BY projection, version, build
"""
# One snapshot for all of it: a reader who began before a switch would else see the build that steps
# back go on, and the next one find the build that comes behind it.
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
_ENTER = "SELECT trunkline.enter(%s::int, %s::text[])"


class Build(msgspec.Struct, frozen=True):
    """One build, and what it is for at this moment."""

    projection: str
    version: int
    number: int
    state: State

    @property
    def schema(self) -> str:
        """Where its tables are."""
        return f"{self.projection}_{self.version}_{self.number}"

    @property
    def key(self) -> dict[str, str | int]:
        """What names it in a statement."""
        return {"projection": self.projection, "version": self.version, "build": self.number}


def families(projections: Iterable[Projection]) -> list[str]:
    """What the builds of these projections, in the versions that the code knows, have in common."""
    return [f"{each.name}_{each.version}" for each in projections]


async def builds_of(connection: Connection, *projections: Projection) -> list[Build]:
    """All builds of these projections, oldest first."""
    cursor = await connection.execute(_BUILDS, [families(projections)])
    return [Build(*row) for row in await cursor.fetchall()]


class LiveBuilds:
    """Opens transactions that read the builds which are live when they begin.

    A transaction never mixes builds, nor moments, nor sees half of a switch. That costs about 50
    microseconds, in the round trip of the first query.
    """

    def __init__(
        self, pool: AsyncConnectionPool[Connection], projections: Sequence[Projection]
    ) -> None:
        """`projections` are those that the code knows."""
        self.pool = pool
        self._families = families(projections)

    @asynccontextmanager
    async def within(self, org: int | None) -> AsyncIterator[Connection]:
        """A transaction that sees one organisation, or, of role trunkline_project, all."""
        async with self.pool.connection() as connection, transaction(connection, _BEGIN):
            await connection.execute(_ENTER, [org, self._families])
            yield connection
