"""One batch of one organisation into one build: rows and checkpoint in one transaction.

Live builds are followed like this, unfinished ones filled, compared ones brought level. The
checkpoint moves by compare-and-set: whoever else works on the same org, one wins each batch.
"""

from typing import Any

import msgspec

from domain.event import Recorded, decode
from projections.engine.builds import Build
from projections.engine.projection import Connection, Projection

# One who works on an org of a build is not waited for: the others find work elsewhere.
_CLAIM = """
SELECT pg_try_advisory_xact_lock(hashtext(%(schema)s), %(org)s),
       set_config('search_path', %(schema)s || ', trunkline', true),
       -- Compiling a statement that looks expensive costs more than running it on one batch.
       set_config('jit', 'off', true)
"""
_PLACE = """
SELECT coalesce((SELECT c.position FROM trunkline.checkpoints c
                  WHERE c.projection = %(projection)s AND c.version = %(version)s
                    AND c.build = %(build)s AND c.org = %(org)s), 0),
       coalesce((SELECT h.position FROM trunkline.heads h WHERE h.org = %(org)s), 0)
"""
_EVENTS = """
SELECT position, stream, version, recorded_at, type, schema_version, data
  FROM trunkline.events
 WHERE org = %(org)s AND position > %(position)s
 ORDER BY position
 LIMIT %(limit)s
"""
_BEGIN = """
INSERT INTO trunkline.checkpoints (projection, version, build, org, position)
VALUES (%(projection)s, %(version)s, %(build)s, %(org)s, 0)
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE trunkline.checkpoints SET position = %(next)s
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND org = %(org)s AND position = %(position)s
"""
_UNPARK = """
DELETE FROM trunkline.parked
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND org = %(org)s
"""


class GapInLog(Exception):
    """Positions do not follow each other. That must never be: nothing goes on behind a gap."""


class Place(msgspec.Struct, frozen=True):
    """Where a build is in the log of one org."""

    org: int
    position: int
    head: int

    @property
    def behind(self) -> int:
        """How many events are left to fold."""
        return self.head - self.position


async def advance(
    connection: Connection, projection: Projection, build: Build, org: int, *, limit: int
) -> Place | None:
    """Fold the next batch of one org and move the checkpoint, or change nothing.

    Returns where the build is then; None if somebody else works on this org. Raises GapInLog,
    UnknownEventType, and whatever the projection raises about an event.
    """
    named = {**build.key, "schema": build.schema, "org": org}
    async with connection.transaction():
        place = await _claim(connection, named)
        if place is None:
            return None
        if place.behind < 0:
            raise GapInLog(f"org {org} was followed to {place.position}, and ends at {place.head}")
        if place.behind == 0:
            return place
        batch = await _read(connection, place, limit)
        end = Place(org, batch[-1].position, place.head)
        if not await _move(connection, named, place.position, end.position):
            return None
        await projection.apply(connection, org, batch)
        return end


async def _claim(connection: Connection, named: dict[str, Any]) -> Place | None:
    async with connection.pipeline():
        claimed = await connection.execute(_CLAIM, named)
        found = await connection.execute(_PLACE, named)
        is_ours = (await claimed.fetchone() or (False,))[0]
        position, head = await found.fetchone() or (0, 0)
    return Place(named["org"], position, head) if is_ours else None


async def _read(connection: Connection, place: Place, limit: int) -> list[Recorded]:
    """The next events; the one place that proves there is no gap before, between or behind them."""
    count = min(limit, place.behind)
    parameters = {"org": place.org, "position": place.position, "limit": count}
    rows = await (await connection.execute(_EVENTS, parameters, binary=True)).fetchall()
    first = place.position + 1
    if [row[0] for row in rows] != list(range(first, first + count)):
        raise GapInLog(f"org {place.org}, behind position {place.position}")
    return [
        Recorded(position, stream, version, recorded_at, decode(name, schema, data))
        for position, stream, version, recorded_at, name, schema, data in rows
    ]


async def _move(
    connection: Connection, named: dict[str, Any], position: int, next_position: int
) -> bool:
    parameters = {**named, "position": position, "next": next_position}
    async with connection.pipeline():
        if position == 0:
            await connection.execute(_BEGIN, parameters)
        moved = await connection.execute(_MOVE, parameters)
        await connection.execute(_UNPARK, parameters)
    return moved.rowcount == 1
