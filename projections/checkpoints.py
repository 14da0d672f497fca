"""Waiting until a projection has seen a position, from any process (contract: Min-Position)."""

import asyncio

from psycopg_pool import AsyncConnectionPool

from projections.projection import Connection, Projection

# How long a reader sleeps between two looks: short at first, since most waits are short.
PAUSE_FIRST_SECONDS = 0.005
PAUSE_MAX_SECONDS = 0.05

_POSITION = (
    "SELECT position FROM trunkline.checkpoints"
    " WHERE projection = %(projection)s AND version = %(version)s AND org = %(org)s"
)


async def position(connection: Connection, projection: Projection, *, org: int) -> int:
    """How far a projection is; 0 before its first event. The connection must see the org."""
    parameters = {"projection": projection.name, "version": projection.version, "org": org}
    row = await (await connection.execute(_POSITION, parameters)).fetchone()
    return row[0] if row else 0


async def caught_up(
    pool: AsyncConnectionPool[Connection],
    projection: Projection,
    *,
    org: int,
    position: int,
    timeout_seconds: float,
) -> bool:
    """Wait until the projection has reached the position; False when it takes too long."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_seconds
    pause = PAUSE_FIRST_SECONDS
    while await _position_of(pool, projection, org) < position:
        if clock() + pause > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_MAX_SECONDS)
    return True


async def _position_of(
    pool: AsyncConnectionPool[Connection], projection: Projection, org: int
) -> int:
    async with (
        pool.connection() as connection,
        connection.pipeline(),
        connection.transaction(),
    ):
        await connection.execute("SELECT set_config('app.org', %s, true)", [str(org)])
        return await position(connection, projection, org=org)
