-- Files that are going into the store, until an event names them: what a process leaves behind that
-- dies between is found by these rows, and removed. Their number is that of files on their way.
SET LOCAL lock_timeout = '4s';

CREATE TABLE begun_files (
    org      int         NOT NULL,
    address  text        NOT NULL COLLATE "C",  -- The hash of the sealed bytes.
    position bigint      NOT NULL,              -- An event that names it stands behind this one.
    begun_at timestamptz NOT NULL,
    PRIMARY KEY (org, address)
);
CREATE INDEX begun_files_by_age ON begun_files (begun_at);

ALTER TABLE begun_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE begun_files FORCE ROW LEVEL SECURITY;
CREATE POLICY project ON begun_files TO trunkline_project USING (true);
GRANT SELECT, INSERT, DELETE ON begun_files TO trunkline_project;
