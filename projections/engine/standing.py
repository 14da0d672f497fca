"""How far every build is behind the log, and what is parked: for operators."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from projections.engine.builds import State, families
from projections.engine.named_sql import load
from projections.engine.projection import Connection, Projection

SQL = load(__file__)

# The oldest are shown; all are counted.
PARKED_SHOWN_MAX = 100


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a build stands."""

    projection: str
    version: int
    build: int
    state: State
    started_at: datetime
    ready_at: datetime | None
    live_at: datetime | None
    orgs: int
    events_behind: int
    seconds_behind: float  # Since the oldest event that it has not folded was written down.
    parked: int


class ParkedOrg(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation that waits before an event which a build cannot take."""

    projection: str
    version: int
    build: int
    organisation: str
    position: int
    error: str
    since: datetime


class Standings:
    """Where the builds stand now, for whoever has only this."""

    def __init__(
        self, pool: AsyncConnectionPool[Connection], projections: Sequence[Projection]
    ) -> None:
        """The pool's connections have role trunkline_project."""
        self._pool = pool
        self._projections = projections

    async def now(self) -> list[Standing]:
        """Every build of the projections."""
        async with self._pool.connection() as connection:
            return await standings(connection, self._projections)


async def standings(connection: Connection, projections: Sequence[Projection]) -> list[Standing]:
    """Every build of these projections, in the versions that the code knows."""
    async with connection.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(SQL["builds"], {"families": families(projections)})
        return await cursor.fetchall()


async def parked(connection: Connection, projections: Sequence[Projection]) -> list[ParkedOrg]:
    """What is parked in their builds, the longest first."""
    async with connection.cursor(row_factory=class_row(ParkedOrg)) as cursor:
        parameters = {"families": families(projections), "limit": PARKED_SHOWN_MAX}
        await cursor.execute(SQL["parked"], parameters)
        return await cursor.fetchall()
