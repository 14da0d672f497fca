-- What a rebuild has read may have been damaged, and be mended before the same rebuild goes on.
SET LOCAL lock_timeout = '4s';

-- The log as it was when the pieces of a build were planned: what is written into that part of it
-- later was mended. NULL where the log was found damaged, and in builds of before: what was filled
-- of them is not gone on with.
ALTER TABLE builds ADD COLUMN log_seen pg_snapshot;
