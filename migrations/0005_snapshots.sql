-- States of long streams, kept so that nobody need read all their events again. A cache: every row
-- may be deleted at any time.
SET LOCAL lock_timeout = '4s';

CREATE TABLE snapshots (
    org      int         NOT NULL,
    stream   text        NOT NULL COLLATE "C",
    code     bytea       NOT NULL,  -- Digest of the code that folded it: another one's is no use.
    version  int         NOT NULL,
    hash     bytea       NOT NULL,  -- Of the event at that version: another history's is no use.
    state    bytea       NOT NULL,
    proof    bytea       NOT NULL,  -- Keyed hash by the servers: what anybody else wrote is no use.
    kept_at  timestamptz NOT NULL,
    PRIMARY KEY (org, stream, code)
);
CREATE INDEX snapshots_by_age ON snapshots (kept_at);

ALTER TABLE snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY append ON snapshots TO trunkline_owner USING (true);
CREATE POLICY project ON snapshots TO trunkline_project USING (true);
GRANT SELECT ON snapshots TO trunkline_project;

-- Only what the log bears out is kept, by the event's place and time; the newer one stays, unless
-- the log knows nothing of it any more, as after a restored backup.
CREATE FUNCTION keep_snapshot(
    p_org int, p_stream text, p_code bytea, p_version int, p_position bigint,
    p_recorded_at timestamptz, p_state bytea, p_proof bytea
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    INSERT INTO snapshots AS s (org, stream, code, version, hash, state, proof, kept_at)
    SELECT e.org, e.stream, p_code, e.version, e.hash, p_state, p_proof, now()
      FROM events e
     WHERE e.org = p_org AND e.stream = p_stream AND e.version = p_version
       AND e.position = p_position AND e.recorded_at = p_recorded_at
    ON CONFLICT (org, stream, code) DO UPDATE
       SET version = excluded.version, hash = excluded.hash, state = excluded.state,
           proof = excluded.proof, kept_at = excluded.kept_at
     WHERE s.version < excluded.version
        OR NOT EXISTS (SELECT FROM events e
                        WHERE e.org = s.org AND e.stream = s.stream AND e.version = s.version
                          AND e.hash = s.hash)
$$;

CREATE FUNCTION forget_snapshot(p_org int, p_stream text, p_code bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    DELETE FROM snapshots WHERE org = p_org AND stream = p_stream AND code = p_code
$$;

-- What other code has replaced stays for as long as servers of both may run.
CREATE OR REPLACE FUNCTION purge_expired(moment timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    DELETE FROM idempotency_keys WHERE created_at < moment - interval '24 hours';
    DELETE FROM keys WHERE expires_at < moment;
    DELETE FROM snapshots s
     WHERE s.kept_at < moment - interval '7 days'
       AND EXISTS (SELECT FROM snapshots newer
                    WHERE newer.org = s.org AND newer.stream = s.stream
                      AND newer.kept_at > s.kept_at);
$$;

REVOKE ALL ON FUNCTION keep_snapshot, forget_snapshot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_snapshot, forget_snapshot TO trunkline_append;
