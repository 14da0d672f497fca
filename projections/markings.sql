-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.
CREATE TABLE IF NOT EXISTS markings (
    org             int         NOT NULL,
    chat_id         text        NOT NULL COLLATE "C",
    platform        text        NOT NULL,
    account_id      text        NOT NULL,
    message_version int         NOT NULL,  -- The newest message that is to be marked.
    requested_at    timestamptz NOT NULL,
    PRIMARY KEY (org, chat_id)
);
CREATE INDEX IF NOT EXISTS markings_newest ON markings (requested_at);

-- request --
-- Who marks a message has marked all before it.
INSERT INTO markings AS m (org, chat_id, platform, account_id, message_version, requested_at)
VALUES (%(org)s, %(chat_id)s, %(platform)s, %(account_id)s, %(message_version)s, %(at)s)
ON CONFLICT (org, chat_id) DO UPDATE
   SET message_version = excluded.message_version, requested_at = excluded.requested_at
 WHERE excluded.message_version > m.message_version;

-- end --
DELETE FROM markings
 WHERE org = %(org)s AND chat_id = %(chat_id)s AND message_version <= %(message_version)s;

-- waiting --
-- Served by markings_newest. The newest first: who cannot be reached keeps nobody else waiting.
SELECT org, platform, account_id, chat_id, message_version, requested_at
  FROM markings
 WHERE platform = ANY (%(platforms)s::text[])
 ORDER BY requested_at DESC
 LIMIT %(limit)s;
