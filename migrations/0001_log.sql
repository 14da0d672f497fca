-- The log and what is written in its transaction. Nothing here can be rebuilt.
SET LOCAL lock_timeout = '4s';

-- The one counter of an organisation. `partition` says which worker, later which server, has it.
CREATE TABLE heads (
    org         int         NOT NULL PRIMARY KEY,
    partition   smallint    NOT NULL CHECK (partition BETWEEN 0 AND 63),
    position    bigint      NOT NULL DEFAULT 0,
    hash        bytea       NOT NULL CHECK (length(hash) = 32),
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE events (
    org            int         NOT NULL,
    position       bigint      NOT NULL,
    stream         text        NOT NULL COLLATE "C",
    version        int         NOT NULL,
    type           text        NOT NULL COLLATE "C",
    schema_version smallint    NOT NULL,
    recorded_at    timestamptz NOT NULL,
    command        bytea       NOT NULL,
    data           bytea       NOT NULL,
    hash           bytea       NOT NULL,
    PRIMARY KEY (org, position),
    UNIQUE (org, stream, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
-- Sealed data does not shrink.
ALTER TABLE events ALTER COLUMN data SET STORAGE EXTERNAL;

-- Every command once: a webhook's dedupe key (32 bytes), else 16 random bytes (P2).
CREATE TABLE commands (
    org      int    NOT NULL,
    id       bytea  NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (org, id)
);

-- Keys of people, wrapped with the org's wrapping key. Deleting a row erases what it sealed.
CREATE TABLE keys (
    org        int         NOT NULL,
    id         text        NOT NULL COLLATE "C",
    wrapped    bytea       NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (org, id)
);
CREATE INDEX keys_expiring ON keys (expires_at) WHERE expires_at IS NOT NULL;

-- Whom an address leads to; the key is a keyed hash, so two first messages make one contact.
CREATE TABLE addresses (
    org     int   NOT NULL,
    key     bytea NOT NULL,
    contact text  NOT NULL COLLATE "C",
    PRIMARY KEY (org, key)
);

-- What a client's Idempotency-Key led to, for 24 hours.
CREATE TABLE idempotency_keys (
    org        int         NOT NULL,
    key        bytea       NOT NULL,
    request    bytea       NOT NULL,
    status     smallint    NOT NULL,
    position   bigint      NOT NULL,
    ids        bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The directory: the only tables that span organisations.
CREATE TABLE organisations (
    id           text NOT NULL COLLATE "C" PRIMARY KEY,
    org          int  GENERATED ALWAYS AS IDENTITY UNIQUE,
    partition    smallint NOT NULL,
    wrapping_key bytea NOT NULL,
    identity_key bytea NOT NULL
);

CREATE TABLE accounts (
    platform            text    NOT NULL COLLATE "C",
    account_id          text    NOT NULL COLLATE "C",
    org                 int     NOT NULL REFERENCES organisations (org),
    held                boolean NOT NULL,
    business_account_id text    COLLATE "C",
    secrets             bytea,
    PRIMARY KEY (platform, account_id)
);
CREATE INDEX accounts_by_business_account ON accounts (platform, business_account_id)
    WHERE business_account_id IS NOT NULL;

CREATE TABLE api_keys (
    id         text        NOT NULL COLLATE "C" PRIMARY KEY,
    org        int         NOT NULL REFERENCES organisations (org),
    user_id    text        NOT NULL,
    name       text        NOT NULL,
    hash       bytea       NOT NULL,
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_by_org ON api_keys (org, created_at, id);

-- Where each projection stands, per org; moved in the projection's own transaction.
CREATE TABLE checkpoints (
    projection text   NOT NULL COLLATE "C",
    version    int    NOT NULL,
    org        int    NOT NULL,
    position   bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (projection, version, org)
) WITH (fillfactor = 50);

-- Events are for ever: nobody changes them, not even their owner.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or removed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER events_are_for_ever BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
