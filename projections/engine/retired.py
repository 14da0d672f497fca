"""Dropping builds that nobody needs: of versions that the code does not know, and others (E3)."""

import asyncio
from collections.abc import Sequence

from projections.engine.builds import Build, families
from projections.engine.jobs import JobError, take_turn_named
from projections.engine.projection import Connection, Projection
from projections.engine.rebuild import Workshop

# A server that follows a build looks for news every second.
WATCH_SECONDS = 3.0

_BUILDS = "SELECT projection, version, build, state FROM trunkline.builds ORDER BY 1, 2, 3"
_STANDING = """
SELECT coalesce(sum(c.position), 0)::bigint,
       (SELECT coalesce(sum(position), 0)::bigint FROM trunkline.heads)
  FROM trunkline.checkpoints c
 WHERE c.projection = %(projection)s AND c.version = %(version)s AND c.build = %(build)s
"""


async def retired(connection: Connection, projections: Sequence[Projection]) -> list[Build]:
    """The builds of versions that the code does not know."""
    known = set(families(projections))
    return [each for each in await _builds(connection) if _family(each) not in known]


async def drop_build(
    connection: Connection, workshop: Workshop, projections: Sequence[Projection], name: str
) -> Build:
    """Drop one build by the name of its schema. Raises JobError."""
    builds = {each.schema: each for each in await _builds(connection)}
    build = builds.get(name)
    if build is None:
        raise JobError(f"There is no build {name}. There are: {', '.join(builds)}.")
    if build.state == "live" and _family(build) in families(projections):
        raise JobError(
            f"{name} is live and serves. Only what `trunkline projections switch"
            f" {build.projection}` has put in its place can replace it."
        )
    await _drop(connection, workshop, build)
    return build


async def drop_retired(
    connection: Connection, workshop: Workshop, projections: Sequence[Projection]
) -> list[Build]:
    """Drop all builds of versions that the code does not know. Raises JobError."""
    builds = await retired(connection, projections)
    for build in builds:
        await _drop(connection, workshop, build)
    return builds


async def _drop(connection: Connection, workshop: Workshop, build: Build) -> None:
    await take_turn_named(connection, build.projection)
    if build.state == "live":
        await _require_not_followed(connection, build)
    await asyncio.to_thread(workshop.drop, build.schema, live_too=build.state == "live")


async def _require_not_followed(connection: Connection, build: Build) -> None:
    """Raises JobError where servers of an older version may read it."""
    position, head = await _standing(connection, build)
    if position < head:
        await asyncio.sleep(WATCH_SECONDS)
        if (await _standing(connection, build))[0] == position:
            return
    raise JobError(
        f"{build.schema} is level with the log: a server of an older version follows it, or nothing"
        " was written since the last one ended. Nothing of it was dropped; end that server, or try"
        " again later."
    )


async def _standing(connection: Connection, build: Build) -> tuple[int, int]:
    """How far it is, and how far the log is, over all organisations."""
    row = await (await connection.execute(_STANDING, build.key)).fetchone()
    assert row is not None
    return row[0], row[1]


async def _builds(connection: Connection) -> list[Build]:
    cursor = await connection.execute(_BUILDS)
    return [Build(*row) for row in await cursor.fetchall()]


def _family(build: Build) -> str:
    return f"{build.projection}_{build.version}"
