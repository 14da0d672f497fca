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

# One who works on an org of a build is not waited for: the others find work elsewhere. All in one
# statement, for what followers do most is to look at single new events.
_NEXT = """
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
)
SELECT claim.is_ours, place.position, place.head, place.is_parked,
       e.position, e.stream, e.version, e.recorded_at, e.type, e.schema_version, e.data
  FROM claim
 CROSS JOIN place
  LEFT JOIN LATERAL (
       SELECT * FROM trunkline.events e
        WHERE claim.is_ours AND e.org = %(org)s AND e.position > place.position
        ORDER BY e.position
        LIMIT %(limit)s) e ON true
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
RETURNING position
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

    Returns where the build is then; None if somebody else works on this org. Who loses to
    somebody quicker is told of the place that both began at, and so looks again. Raises
    GapInLog, UnknownEventType, and whatever the projection raises about an event.
    """
    named = {**build.key, "schema": build.schema, "org": org}
    # Nothing is waited for before its answer is needed: most of a small batch is round trips.
    async with connection.pipeline(), connection.transaction():
        rows = await (
            await connection.execute(_NEXT, {**named, "limit": limit}, binary=True)
        ).fetchall()
        is_ours, position, head, is_parked = rows[0][:4]
        place = Place(org, position, head)
        if not is_ours:
            return None
        if place.behind < 0:
            raise GapInLog(f"org {org} was followed to {position}, and ends at {head}")
        if place.behind == 0:
            return place
        batch = _batch(place, [row[4:] for row in rows], limit)
        end = Place(org, batch[-1].position, head)
        if not await _move(connection, {**named, "position": position, "next": end.position}):
            return place  # It was read before the lock was had; what came since may be ours.
        if is_parked:
            await connection.execute(_UNPARK, named)
        await projection.apply(connection, org, batch)
        return end


def _batch(place: Place, rows: Sequence[tuple[Any, ...]], limit: int) -> list[Recorded]:
    """The next events; the one place that proves there is no gap before, between or behind them."""
    first, count = place.position + 1, min(limit, place.behind)
    if [row[0] for row in rows] != list(range(first, first + count)):
        raise GapInLog(f"org {place.org}, behind position {place.position}")
    return [
        Recorded(position, stream, version, recorded_at, decode(name, schema, data))
        for position, stream, version, recorded_at, name, schema, data in rows
    ]


async def _move(connection: Connection, parameters: dict[str, Any]) -> bool:
    if parameters["position"] == 0:
        await connection.execute(_BEGIN, parameters)
    moved = await connection.execute(_MOVE, parameters)
    return await moved.fetchone() is not None
