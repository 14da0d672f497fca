-- Who may do what. Every role but the append function sees one organisation, or only reads.
SET LOCAL lock_timeout = '4s';

GRANT USAGE ON SCHEMA trunkline, projections TO
    trunkline_append, trunkline_read, trunkline_project, trunkline_audit, trunkline_directory;

-- The organisation of this transaction; without one, no row is seen.
CREATE FUNCTION current_org() RETURNS int LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('app.org', true), '')::int
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['heads', 'events', 'commands', 'keys', 'addresses',
                                'idempotency_keys', 'checkpoints'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        -- The append function runs as the owner: one batch holds several organisations.
        EXECUTE format('CREATE POLICY append ON %I TO trunkline_owner USING (true)', name);
        EXECUTE format('CREATE POLICY project ON %I TO trunkline_project USING (true)', name);
        EXECUTE format('CREATE POLICY one_org ON %I TO trunkline_read, trunkline_audit '
                       'USING (org = current_org())', name);
    END LOOP;
END $$;

GRANT SELECT ON heads, events, keys, addresses, idempotency_keys, checkpoints
    TO trunkline_read, trunkline_project;
GRANT SELECT ON heads, events, checkpoints TO trunkline_audit;
GRANT SELECT ON commands TO trunkline_read, trunkline_project;
GRANT INSERT, UPDATE, DELETE ON checkpoints TO trunkline_project;

GRANT SELECT, INSERT, UPDATE ON organisations, accounts, api_keys TO trunkline_directory;
-- Authentication sees with one look whether the org has moved on.
CREATE POLICY directory ON heads TO trunkline_directory USING (true);
GRANT SELECT ON heads TO trunkline_directory;
GRANT SELECT ON organisations TO trunkline_project;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA trunkline FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_org TO PUBLIC;
GRANT EXECUTE ON FUNCTION append_batch, append_companions, lock_heads, find_known, purge_expired
    TO trunkline_append;
GRANT EXECUTE ON FUNCTION read_changes TO trunkline_project;
GRANT EXECUTE ON FUNCTION open_head TO trunkline_directory;
