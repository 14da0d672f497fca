"""Puts another build in the live one's place, in one transaction, and back (E3).

A reader never goes back in time: no organisation may be further in the build that steps back. Both
are followed until the next rebuild begins, so a rollback is as good as the switch was.
"""

import asyncio

from psycopg.errors import LockNotAvailable

from projections.engine.builds import Build, State
from projections.engine.jobs import JobError, build_in, take_turn
from projections.engine.named_sql import load
from projections.engine.projection import Connection, Projection

SQL = load(__file__)

# How long the runners may take to bring the next build level.
WAIT_SECONDS_MAX = 10.0
PAUSE_SECONDS = 0.05


async def switch(connection: Connection, projection: Projection) -> Build:
    """Let the build that is ready serve; the live one becomes the previous. Raises JobError."""
    await take_turn(connection, projection)
    ready = await build_in(connection, projection, "ready")
    if ready is None:
        unfinished = await build_in(connection, projection, "building")
        reason = f"{unfinished.schema} is not filled yet" if unfinished else "no build is ready"
        raise JobError(
            f"There is nothing to switch to: {reason}."
            f" Run `trunkline projections rebuild {projection.name}` first."
        )
    return await _exchange(connection, projection, ready, leaving_as="previous")


async def roll_back(connection: Connection, projection: Projection) -> Build:
    """Let the previous build serve again; the live one is ready once more. Raises JobError."""
    await take_turn(connection, projection)
    previous = await build_in(connection, projection, "previous")
    if previous is None:
        raise JobError(
            f"There is no previous build of {projection.name} to go back to: nothing was switched"
            " since the last rebuild began, or it was taken back already."
        )
    return await _exchange(connection, projection, previous, leaving_as="ready")


async def _exchange(
    connection: Connection, projection: Projection, coming: Build, *, leaving_as: State
) -> Build:
    live = await build_in(connection, projection, "live")
    if live is None:
        raise JobError(f"{projection.name} has no live build. Run `trunkline migrate`.")
    clock = asyncio.get_running_loop().time
    deadline = clock() + WAIT_SECONDS_MAX
    while True:
        try:
            orgs, events = await _try(connection, live, coming, leaving_as)
        except LockNotAvailable:
            raise JobError(
                "A batch of a projector took too long to wait for, and nothing was switched."
                " Try again."
            ) from None
        if not orgs:
            return coming
        if clock() > deadline:
            raise JobError(
                f"{coming.schema} is {events} events behind {live.schema} in {orgs}"
                " organisations, and nothing was switched. Is a projector running, and is nothing"
                " parked? `trunkline projections status` shows both; then try again."
            )
        await asyncio.sleep(PAUSE_SECONDS)


async def _try(
    connection: Connection, live: Build, coming: Build, leaving_as: State
) -> tuple[int, int]:
    """Exchange them, unless the one that comes is behind; returns in how many orgs and by what."""
    names = {**live.key, "live": live.number, "next": coming.number}
    async with connection.transaction():
        await connection.execute(SQL["be_patient"])
        await connection.execute(SQL["hold"], names)
        await connection.execute(SQL["hold_checkpoints"], names)
        cursor = await connection.execute(SQL["behind"], names)
        orgs, events = await cursor.fetchone() or (0, 0)
        if not orgs:
            await connection.execute(SQL["put"], {**live.key, "state": leaving_as})
            await connection.execute(SQL["put"], {**coming.key, "state": "live"})
        return orgs, events
