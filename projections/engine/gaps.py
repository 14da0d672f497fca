"""Where a log misses an event: looked for once it is known that one is missing."""

from projections.engine.projection import Connection

# Between events, in the order of their key and no further than the gap; else behind the last one.
_FIRST_GAP = """
SELECT coalesce(
       (SELECT held.previous + 1
          FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS previous
                  FROM trunkline.events
                 WHERE org = %(org)s AND position > 0) held
         WHERE held.position > held.previous + 1
         ORDER BY held.position
         LIMIT 1),
       (SELECT last.position + 1
          FROM (SELECT coalesce(max(position), 0) AS position
                  FROM trunkline.events
                 WHERE org = %(org)s) last
          JOIN trunkline.heads h ON h.org = %(org)s AND h.position > last.position))
"""


async def first_gap(connection: Connection, org: int) -> int | None:
    """The first position of the org at which no event is; None if there is one at each."""
    row = await (await connection.execute(_FIRST_GAP, {"org": org})).fetchone()
    position: int | None = row[0] if row else None
    return position
