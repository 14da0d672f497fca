"""How far projections are, and waiting for them from any process."""

import asyncio

from projections.engine.builds import Build, LiveBuilds
from projections.engine.projection import Connection, Projection

# How long a reader sleeps between two looks: short at first, since most waits are short.
PAUSE_FIRST_SECONDS = 0.005
PAUSE_MAX_SECONDS = 0.05

# Of the build that this transaction reads; meanwhile another may have become live.
_POSITION = """
SELECT c.position
  FROM trunkline.builds b
  JOIN trunkline.checkpoints c USING (projection, version, build)
 WHERE b.projection = %(projection)s AND b.version = %(version)s AND c.org = %(org)s
   AND b.schema = ANY (current_schemas(false))
"""
_REACHED = """
SELECT position FROM trunkline.checkpoints
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s AND org = %(org)s
"""


async def position(connection: Connection, projection: Projection, *, org: int) -> int:
    """How far the projection is that a `LiveBuilds` transaction reads; 0 before its first event."""
    parameters = {"projection": projection.name, "version": projection.version, "org": org}
    row = await (await connection.execute(_POSITION, parameters)).fetchone()
    return row[0] if row else 0


async def reached(connection: Connection, build: Build, *, org: int) -> int:
    """How far one build is, for a connection that sees the org; 0 before its first event."""
    row = await (await connection.execute(_REACHED, {**build.key, "org": org})).fetchone()
    return row[0] if row else 0


async def caught_up(
    live: LiveBuilds,
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
    while await _position_of(live, projection, org) < position:
        if clock() + pause > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_MAX_SECONDS)
    return True


async def _position_of(live: LiveBuilds, projection: Projection, org: int) -> int:
    async with live.within(org) as connection:
        return await position(connection, projection, org=org)
