"""One batch of one organisation into one build: rows and checkpoint in one transaction.

Live builds are followed like this, unfinished ones filled, compared ones brought level. The
checkpoint moves by compare-and-set: whoever else works on the same org, one wins each batch.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.event import Recorded, decode
from projections.engine.builds import Build
from projections.engine.projection import Connection, Projection
from projections.engine.transactions import transaction

# One who works on an org of a build is not waited for: the others find work elsewhere. All in one
# statement, for what followers do most is to look at single new events.
#
# The place may be older than the lock, for the statement sees what was there when it began. Then
# the checkpoint has moved since, is not the one compared with, and does not move again. One that
# is gone is not begun anew: its build is gone, too, as the foreign key says.
_TAKE = """
WITH claim AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext(%(schema)s), %(org)s) AS is_ours,
           set_config('search_path', %(schema)s || ', trunkline', true),
           -- Compiling a statement that looks expensive costs more than running it on one batch.
           set_config('jit', 'off', true),
           -- What a crash may take back is folded again: rows and checkpoint go together.
           set_config('synchronous_commit', 'off', true)
), place AS MATERIALIZED (
    SELECT coalesce((SELECT c.position FROM trunkline.checkpoints c
                      WHERE c.projection = %(projection)s AND c.version = %(version)s
                        AND c.build = %(build)s AND c.org = %(org)s), 0) AS position,
           coalesce((SELECT h.position FROM trunkline.heads h WHERE h.org = %(org)s), 0) AS head,
           EXISTS (SELECT FROM trunkline.parked p
                    WHERE p.projection = %(projection)s AND p.version = %(version)s
                      AND p.build = %(build)s AND p.org = %(org)s) AS is_parked
), moved AS (
    INSERT INTO trunkline.checkpoints AS c (projection, version, build, org, position)
    SELECT %(projection)s, %(version)s, %(build)s, %(org)s,
           least(place.head, place.position + %(limit)s)
      FROM claim
     CROSS JOIN place
     WHERE claim.is_ours AND place.position < place.head
    ON CONFLICT (projection, version, build, org) DO UPDATE
       SET position = excluded.position
     WHERE c.position = (SELECT place.position FROM place)
    RETURNING position
)
SELECT claim.is_ours, place.position, place.head, place.is_parked, moved.position,
       e.position, e.stream, e.version, e.recorded_at, e.type, e.schema_version, e.data
  FROM claim
 CROSS JOIN place
  LEFT JOIN moved ON true
  LEFT JOIN LATERAL (
       SELECT * FROM trunkline.events e
        WHERE moved.position IS NOT NULL AND e.org = %(org)s AND e.position > place.position
        ORDER BY e.position
        LIMIT %(limit)s) e ON true
"""
_UNPARK = """
DELETE FROM trunkline.parked
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND org = %(org)s
"""


class GapInLog(Exception):
    """Positions do not follow each other. That must never be: its org does not go on behind it."""


class Place(msgspec.Struct, frozen=True):
    """Where a build is in the log of one org."""

    org: int
    position: int
    head: int

    @property
    def behind(self) -> int:
        """How many events are left to fold."""
        return self.head - self.position


class _Taken(msgspec.Struct, frozen=True):
    """What one look at an org gave: whether it is ours, the place, and the next batch."""

    is_ours: bool
    place: Place  # Before it.
    is_parked: bool
    end: int | None  # The batch's, where the checkpoint is now; None where there is none.
    rows: Sequence[tuple[Any, ...]]


async def advance(
    connection: Connection, projection: Projection, build: Build, org: int, *, limit: int
) -> Place | None:
    """Take one batch in a transaction of its own, all of it or nothing; see `take_batch`."""
    async with transaction(connection):
        return await take_batch(connection, projection, build, org, limit=limit)


async def take_batch(
    connection: Connection, projection: Projection, build: Build, org: int, *, limit: int
) -> Place | None:
    """Move the checkpoint over the next batch of one org and fold it, inside a transaction.

    Returns where the build is then; None if somebody else works on this org. Who loses to
    somebody quicker is told of the place that both began at, and so looks again. Raises
    GapInLog, UnknownEventType, and whatever the projection raises about an event.
    """
    named = {**build.key, "schema": build.schema, "org": org}
    taken = await _take(connection, {**named, "limit": limit})
    if not taken.is_ours:
        return None
    if taken.place.behind < 0:
        at, head = taken.place.position, taken.place.head
        raise GapInLog(f"org {org} was followed to {at}, and ends at {head}")
    if taken.end is None:
        return taken.place
    batch = _batch(taken.place, taken.end, taken.rows)
    if taken.is_parked:
        await connection.execute(_UNPARK, named)
    await projection.apply(connection, org, batch)
    return Place(org, taken.end, taken.place.head)


async def _take(connection: Connection, parameters: dict[str, Any]) -> _Taken:
    rows = await (await connection.execute(_TAKE, parameters, binary=True)).fetchall()
    is_ours, position, head, is_parked, end = rows[0][:5]
    place = Place(parameters["org"], position, head)
    return _Taken(is_ours, place, is_parked, end, [row[5:] for row in rows])


def _batch(place: Place, end: int, rows: Sequence[tuple[Any, ...]]) -> list[Recorded]:
    """The next events; the one place that proves there is no gap before, between or behind them."""
    if [row[0] for row in rows] != list(range(place.position + 1, end + 1)):
        raise GapInLog(f"org {place.org}, behind position {place.position}")
    return [
        Recorded(position, stream, version, recorded_at, decode(name, schema, data))
        for position, stream, version, recorded_at, name, schema, data in rows
    ]
