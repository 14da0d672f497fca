-- Tokens that a platform gives out for a while, shared by all processes: a new one can end the one
-- before it, so only one process at a time asks for it. A cache: every row may be deleted at any
-- time. Part of the directory: a token goes with credentials, whoever may hold the account.
SET LOCAL lock_timeout = '4s';

CREATE TABLE access_tokens (
    holder         bytea         NOT NULL PRIMARY KEY,  -- Keyed hash of what it is asked for with.
    number         bigint        NOT NULL,              -- Counts the holder's tokens; 0: none yet.
    token          bytea,                               -- Sealed with the installation's key.
    expires_at     timestamptz   NOT NULL,
    renewing_until timestamptz   NOT NULL,              -- Then whoever renews it is taken for dead.
    forced_at      timestamptz[] NOT NULL               -- The newest first.
);
CREATE INDEX access_tokens_by_age ON access_tokens (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON access_tokens TO trunkline_directory;
