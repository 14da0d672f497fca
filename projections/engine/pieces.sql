-- plan_slices --
-- Slices of the streams of one kind, of about as many events each, for every org.
INSERT INTO trunkline.pieces
       (projection, version, build, stage, org, number, work, first_stream, last_stream, position,
        events)
SELECT %(projection)s, %(version)s, %(build)s, %(stage)s, h.org, slice.number, 'fill',
       slice.first_stream, slice.last_stream, h.position, slice.events
  FROM trunkline.heads h
 CROSS JOIN LATERAL (
       SELECT s.number, min(s.stream) AS first_stream, max(s.stream) AS last_stream,
              sum(s.events) AS events
         FROM (SELECT e.stream, count(*) AS events,
                      (sum(count(*)) OVER (ORDER BY e.stream) - 1)::bigint
                      / %(slice_events)s AS number
                 FROM trunkline.events e
                WHERE e.org = h.org AND e.stream >= %(kind)s AND e.stream < %(kind)s || ';'
                  AND (e.stream = %(kind)s OR e.stream >= %(kind)s || ':')
                GROUP BY e.stream) s
        GROUP BY s.number) slice

-- plan_orgs --
-- One piece for every org.
INSERT INTO trunkline.pieces
       (projection, version, build, stage, org, number, work, position, events)
SELECT %(projection)s, %(version)s, %(build)s, %(stage)s, h.org, 0, %(work)s, h.position,
       CASE WHEN %(counts)s THEN h.position ELSE 0 END
  FROM trunkline.heads h
 WHERE h.position > 0

-- remember_log --
UPDATE trunkline.builds
   SET log_seen = pg_current_snapshot()
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s

-- doubt --
UPDATE trunkline.builds
   SET log_seen = NULL
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s

-- is_doubtful --
-- Events are never changed, so a row that was written after the planning, up to a position that was
-- planned, was mended. xmin has the lower half of its transaction's number, which is taken for one
-- after the planning if there was one: after four billion transactions a row may look mended that
-- is only old.
SELECT b.log_seen IS NULL OR EXISTS (
       SELECT FROM (SELECT org, max(position) AS position
                      FROM trunkline.pieces
                     WHERE projection = b.projection AND version = b.version AND build = b.build
                     GROUP BY org) planned
         JOIN trunkline.events e ON e.org = planned.org AND e.position <= planned.position
        CROSS JOIN pg_snapshot_xmin(b.log_seen) first
        CROSS JOIN LATERAL (
              SELECT first::text::bigint
                     + ((e.xmin::text::bigint - first::text::bigint) & x'ffffffff'::bigint)
                     AS transaction) written
        WHERE written.transaction < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
          AND NOT pg_visible_in_snapshot(written.transaction::text::xid8, b.log_seen))
  FROM trunkline.builds b
 WHERE b.projection = %(projection)s AND b.version = %(version)s AND b.build = %(build)s
   AND EXISTS (SELECT FROM trunkline.pieces p
                WHERE p.projection = b.projection AND p.version = b.version AND p.build = b.build)

-- take --
-- Of the first stage that is not done, in the order of the index pieces_left. What comes after the
-- filling waits until the tables have their indexes.
SELECT p.stage, p.org, p.number, p.work, p.first_stream, p.last_stream, p.position, p.reached,
       p.events_done
  FROM trunkline.pieces p
 WHERE p.projection = %(projection)s AND p.version = %(version)s AND p.build = %(build)s
   AND NOT p.is_done
   AND p.stage = (SELECT min(stage) FROM trunkline.pieces
                   WHERE projection = %(projection)s AND version = %(version)s
                     AND build = %(build)s AND NOT is_done)
   AND (p.work = 'fill'
        OR (SELECT complete FROM trunkline.builds
             WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s))
 ORDER BY p.projection, p.version, p.build, p.stage, p.org, p.number
 LIMIT 1
   FOR UPDATE OF p SKIP LOCKED

-- note --
UPDATE trunkline.pieces
   SET reached = coalesce(%(reached)s, reached), events_done = %(events_done)s,
       is_done = %(is_done)s
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND stage = %(stage)s AND org = %(org)s AND number = %(number)s

-- note_trouble --
UPDATE trunkline.pieces
   SET trouble = %(trouble)s
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND stage = %(stage)s AND org = %(org)s AND number = %(number)s

-- forget_trouble --
UPDATE trunkline.pieces
   SET trouble = NULL
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND trouble IS NOT NULL

-- follow_again --
-- The last stage once more, with organisations that are new: nothing of those was planned.
INSERT INTO trunkline.pieces
       (projection, version, build, stage, org, number, work, position, events)
SELECT %(projection)s, %(version)s, %(build)s, last.stage, h.org, 0, 'follow', 0, 0
  FROM trunkline.heads h,
       (SELECT coalesce(max(stage), 0) AS stage
          FROM trunkline.pieces
         WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s) last
 WHERE h.position > 0
ON CONFLICT (projection, version, build, stage, org, number) DO UPDATE SET is_done = false

-- next_work --
SELECT work
  FROM trunkline.pieces
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND NOT is_done
 ORDER BY stage
 LIMIT 1

-- progress --
SELECT coalesce(sum(least(events_done, events)), 0)::bigint, coalesce(sum(events), 0)::bigint,
       count(*), min(trouble),
       (SELECT log_seen IS NULL FROM trunkline.builds
         WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s)
  FROM trunkline.pieces
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
