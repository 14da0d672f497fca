-- Builds of projections. Each is a complete set of one projection's tables in a schema of its own,
-- so another can be filled beside the one that serves, and take its place in one transaction.
SET LOCAL lock_timeout = '4s';

-- `version` is that of the code that reads and fills the build; old and new servers run side by
-- side, each on its own. At most one build is in each state, above all one is `live`.
CREATE TABLE builds (
    projection  text        NOT NULL COLLATE "C" CHECK (projection ~ '^[a-z]+(_[a-z]+)*$'),
    version     int         NOT NULL CHECK (version > 0),
    build       int         NOT NULL CHECK (build > 0),
    state       text        NOT NULL CHECK (state IN ('building', 'ready', 'live', 'previous')),
    family      text        NOT NULL GENERATED ALWAYS AS
                            (projection || '_' || version::text) STORED,
    schema      text        NOT NULL GENERATED ALWAYS AS
                            (projection || '_' || version::text || '_' || build::text) STORED,
    complete    boolean     NOT NULL,  -- False: its tables are bare while they are filled.
    started_at  timestamptz NOT NULL DEFAULT now(),
    ready_at    timestamptz,
    live_at     timestamptz,
    PRIMARY KEY (projection, version, build)
);
CREATE UNIQUE INDEX builds_by_state ON builds (projection, version, state);
GRANT SELECT ON builds TO trunkline_read, trunkline_project, trunkline_audit;
GRANT UPDATE ON builds TO trunkline_project;

-- How far applications of the library are, which is no projection's matter (version 0 until now).
CREATE TABLE applications (
    org         int    NOT NULL,
    application text   NOT NULL COLLATE "C",
    position    bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (org, application)
);
INSERT INTO applications (org, application, position)
SELECT org, projection, position FROM checkpoints WHERE version = 0;

-- What was built so far is filled again from the log.
DELETE FROM checkpoints;
ALTER TABLE checkpoints
    DROP CONSTRAINT checkpoints_pkey,
    ADD COLUMN build int NOT NULL,
    ADD PRIMARY KEY (projection, version, build, org),
    -- Who begins an org in a build holds it, so a build is not switched nor dropped meanwhile.
    ADD FOREIGN KEY (projection, version, build) REFERENCES builds ON DELETE CASCADE;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'projections' LOOP
        EXECUTE format('DROP TABLE projections.%I', name);
    END LOOP;
END $$;

-- The event that a build cannot take; its org waits before it, the others go on.
CREATE TABLE parked (
    projection text        NOT NULL COLLATE "C",
    version    int         NOT NULL,
    build      int         NOT NULL,
    org        int         NOT NULL,
    position   bigint      NOT NULL,
    error      text        NOT NULL,  -- Its class: a message may hold what a customer wrote.
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, version, build, org),
    FOREIGN KEY (projection, version, build) REFERENCES builds ON DELETE CASCADE
);

-- What is left to do of a build. A piece's progress moves in the transaction of its rows.
CREATE TABLE pieces (
    projection   text    NOT NULL COLLATE "C",
    version      int     NOT NULL,
    build        int     NOT NULL,
    stage        int     NOT NULL,  -- Pieces of a stage may be worked on at once, none before.
    org          int     NOT NULL,
    number       int     NOT NULL,
    work         text    NOT NULL CHECK (work IN ('fill', 'finish', 'follow')),
    first_stream text    COLLATE "C",  -- A slice of streams, both ends included,
    last_stream  text    COLLATE "C",
    position     bigint,               -- up to a position.
    reached      text    COLLATE "C",  -- The stream that was filled last.
    events       bigint  NOT NULL,     -- What it holds, for the progress that is shown,
    events_done  bigint  NOT NULL DEFAULT 0,
    is_done      boolean NOT NULL DEFAULT false,
    trouble      text,                 -- Why it cannot go on.
    PRIMARY KEY (projection, version, build, stage, org, number),
    FOREIGN KEY (projection, version, build) REFERENCES builds ON DELETE CASCADE
);
CREATE INDEX pieces_left ON pieces (projection, version, build, stage, org, number)
    WHERE NOT is_done;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['applications', 'parked', 'pieces'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY owner ON %I TO trunkline_owner USING (true)', name);
        EXECUTE format('CREATE POLICY project ON %I TO trunkline_project USING (true)', name);
    END LOOP;
END $$;
CREATE POLICY one_org ON applications TO trunkline_read USING (org = current_org());
GRANT SELECT ON applications TO trunkline_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON applications, parked, pieces TO trunkline_project;

-- What a reading transaction does first: it becomes one organisation's (NULL: everybody's, for a
-- role that may) and finds the tables of the builds that are live at this moment. All it reads
-- afterwards is of those, whatever is switched meanwhile; and the lock on `builds` that it holds
-- until its end tells who is still reading there.
CREATE FUNCTION enter(organisation int, families text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.org', coalesce(organisation::text, ''), true),
            set_config('search_path', concat_ws(', ', live.schemas, 'trunkline'), true)
       FROM (SELECT string_agg(b.schema, ', ') AS schemas FROM trunkline.builds b
              WHERE b.state = 'live' AND b.family = ANY (families)) AS live;
END $$;
REVOKE ALL ON FUNCTION enter FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter TO trunkline_read, trunkline_project, trunkline_audit;
