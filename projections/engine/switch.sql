-- be_patient --
SELECT set_config('lock_timeout', '5s', true)

-- hold --
-- Nobody begins an organisation in either build, nor moves a checkpoint, until this is over.
SELECT build FROM trunkline.builds
 WHERE projection = %(projection)s AND version = %(version)s
 ORDER BY build
   FOR UPDATE

-- hold_checkpoints --
SELECT org, build FROM trunkline.checkpoints
 WHERE projection = %(projection)s AND version = %(version)s
   AND build IN (%(live)s, %(next)s)
 ORDER BY org, build
   FOR UPDATE

-- behind --
-- Where a reader would go back in time.
SELECT count(*), coalesce(sum(was.position - coalesce(next.position, 0)), 0)::bigint
  FROM trunkline.checkpoints was
  LEFT JOIN trunkline.checkpoints next
    ON next.projection = was.projection AND next.version = was.version AND next.build = %(next)s
   AND next.org = was.org
 WHERE was.projection = %(projection)s AND was.version = %(version)s AND was.build = %(live)s
   AND was.position > coalesce(next.position, 0)

-- put --
UPDATE trunkline.builds
   SET state = %(state)s,
       live_at = CASE WHEN %(state)s = 'live' THEN now() ELSE live_at END
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
