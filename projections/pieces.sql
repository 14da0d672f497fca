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

-- take --
-- The order is that of the index pieces_left.
SELECT stage, org, number, work, first_stream, last_stream, position, reached, events_done
  FROM trunkline.pieces
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
   AND stage = %(stage)s AND NOT is_done
 ORDER BY projection, version, build, stage, org, number
 LIMIT 1
   FOR UPDATE SKIP LOCKED

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
-- The last stage once more, with organisations that are new.
INSERT INTO trunkline.pieces
       (projection, version, build, stage, org, number, work, position, events)
SELECT %(projection)s, %(version)s, %(build)s, last.stage, h.org, 0, 'follow', h.position, 0
  FROM trunkline.heads h,
       (SELECT coalesce(max(stage), 0) AS stage
          FROM trunkline.pieces
         WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s) last
 WHERE h.position > 0
ON CONFLICT (projection, version, build, stage, org, number) DO UPDATE SET is_done = false

-- stages --
SELECT stage, min(work), bool_and(is_done)
  FROM trunkline.pieces
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
 GROUP BY stage
 ORDER BY stage

-- progress --
SELECT coalesce(sum(least(events_done, events)), 0)::bigint, coalesce(sum(events), 0)::bigint,
       min(trouble)
  FROM trunkline.pieces
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s

-- any_left --
SELECT EXISTS (
       SELECT FROM trunkline.pieces
        WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
          AND stage = %(stage)s AND NOT is_done)
