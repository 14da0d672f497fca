-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.

-- Every file that stands in a message: of an answer with what the answer says, of a message that
-- came by itself, or not at all where it could not be had.
CREATE TABLE IF NOT EXISTS media_files (
    org        int      NOT NULL,
    chat_id    text     NOT NULL COLLATE "C",
    message_id text     NOT NULL COLLATE "C",
    part       smallint NOT NULL,
    media_id   text     COLLATE "C",
    file       bytea,  -- Sealed, as JSON,
    file_key   text     COLLATE "C",  -- with this key,
    file_type  text,  -- for this type of event of the chat.
    reason     text,  -- Why there is none.
    PRIMARY KEY (org, chat_id, message_id, part)
);
CREATE INDEX IF NOT EXISTS media_files_by_id ON media_files (org, media_id);

-- What users have put here to be sent.
CREATE TABLE IF NOT EXISTS media_uploads (
    org        int         NOT NULL,
    media_id   text        NOT NULL COLLATE "C",
    user_id    text        NOT NULL COLLATE "C",
    expires_at timestamptz NOT NULL,
    address    text        NOT NULL,
    file       bytea       NOT NULL,  -- Sealed, as JSON,
    file_key   text        NOT NULL COLLATE "C",  -- with this key.
    PRIMARY KEY (org, media_id)
);
CREATE INDEX IF NOT EXISTS media_uploads_expiring ON media_uploads (expires_at);

-- Messages whose files are still with the platform.
CREATE TABLE IF NOT EXISTS media_waiting (
    org          int         NOT NULL,
    chat_id      text        NOT NULL COLLATE "C",
    message_id   text        NOT NULL COLLATE "C",
    key          bytea       NOT NULL,
    received_at  timestamptz NOT NULL,  -- By our clock.
    kind         text        NOT NULL,
    content      bytea       NOT NULL,  -- Sealed, as JSON,
    content_key  text        NOT NULL COLLATE "C",  -- with this key,
    content_type text        NOT NULL,  -- for this type of event.
    files        int         NOT NULL,  -- How many it brings,
    files_left   int         NOT NULL,  -- and how many of them are waited for.
    PRIMARY KEY (org, chat_id, message_id)
);
CREATE INDEX IF NOT EXISTS media_waiting_oldest ON media_waiting (received_at);

CREATE TABLE IF NOT EXISTS media_icons (
    org        int   NOT NULL,
    channel_id text  NOT NULL COLLATE "C",
    media_id   text  NOT NULL COLLATE "C",
    file       bytea NOT NULL,  -- Sealed, as JSON,
    file_key   text  NOT NULL COLLATE "C",  -- with this key.
    PRIMARY KEY (org, channel_id)
);

-- await_files --
INSERT INTO media_waiting (org, chat_id, message_id, key, received_at, kind, content, content_key,
                           content_type, files, files_left)
SELECT %(org)s, *, files
  FROM unnest(%(chat_ids)s::text[], %(message_ids)s::text[], %(keys)s::bytea[],
              %(received_at)s::timestamptz[], %(kinds)s::text[], %(contents)s::bytea[],
              %(content_keys)s::text[], %(content_types)s::text[], %(files)s::int[])
       AS came (chat_id, message_id, key, received_at, kind, content, content_key, content_type,
                files)
ON CONFLICT DO NOTHING;

-- add_file --
INSERT INTO media_files (org, chat_id, message_id, part, media_id, file, file_key, file_type,
                         reason)
VALUES (%(org)s, %(chat_id)s, %(message_id)s, %(part)s, %(media_id)s, %(file)s, %(file_key)s,
        %(file_type)s, %(reason)s)
ON CONFLICT DO NOTHING;

-- count_down --
-- Counted anew: a file may be told of twice.
UPDATE media_waiting w
   SET files_left = w.files - (SELECT count(*) FROM media_files f
                                WHERE f.org = w.org AND f.chat_id = w.chat_id
                                  AND f.message_id = w.message_id)
 WHERE w.org = %(org)s AND w.chat_id = %(chat_id)s AND w.message_id = %(message_id)s;

-- forget_settled --
DELETE FROM media_waiting
 WHERE org = %(org)s AND chat_id = %(chat_id)s AND message_id = %(message_id)s
   AND files_left <= 0;

-- forget_unsent --
-- Its author took it back: nobody is shown it any more (C17).
DELETE FROM media_waiting WHERE org = %(org)s AND chat_id = %(chat_id)s AND key = %(key)s;

-- add_upload --
INSERT INTO media_uploads (org, media_id, user_id, expires_at, address, file, file_key)
VALUES (%(org)s, %(media_id)s, %(user_id)s, %(expires_at)s, %(address)s, %(file)s, %(file_key)s)
ON CONFLICT DO NOTHING;

-- set_icon --
INSERT INTO media_icons (org, channel_id, media_id, file, file_key)
VALUES (%(org)s, %(channel_id)s, %(media_id)s, %(file)s, %(file_key)s)
ON CONFLICT (org, channel_id) DO UPDATE
   SET media_id = excluded.media_id, file = excluded.file, file_key = excluded.file_key;

-- waiting --
-- Served by media_waiting_oldest. The account is what the inbox knows of the chat.
SELECT w.org, t.platform, t.account_id, w.chat_id, w.message_id, w.kind, w.files, w.received_at,
       w.content, w.content_key, w.content_type, k.wrapped AS wrapped_key,
       (SELECT coalesce(array_agg(f.part), '{}') FROM media_files f
         WHERE f.org = w.org AND f.chat_id = w.chat_id AND f.message_id = w.message_id) AS settled
  FROM media_waiting w
  JOIN inbox_threads t ON t.org = w.org AND t.chat_id = w.chat_id
  LEFT JOIN trunkline.keys k ON k.org = w.org AND k.id = w.content_key
 WHERE NOT w.message_id = ANY (%(skipped)s::text[])
   AND t.platform = ANY (%(platforms)s::text[])
 ORDER BY w.received_at
 LIMIT %(limit)s;

-- uses --
-- The messages in which a file stands. Served by media_files_by_id.
SELECT f.chat_id, f.message_id, f.part, f.file, f.file_type, k.wrapped
  FROM media_files f
  LEFT JOIN trunkline.keys k ON k.org = f.org AND k.id = f.file_key
 WHERE f.org = %(org)s AND f.media_id = %(media_id)s
 ORDER BY f.chat_id, f.message_id, f.part
 LIMIT %(limit)s;

-- use --
SELECT f.chat_id, f.message_id, f.part, f.file, f.file_type, k.wrapped
  FROM media_files f
  LEFT JOIN trunkline.keys k ON k.org = f.org AND k.id = f.file_key
 WHERE f.org = %(org)s AND f.chat_id = %(chat_id)s AND f.message_id = %(message_id)s
   AND f.media_id IS NOT NULL
 ORDER BY f.part
 LIMIT 1;

-- upload --
SELECT u.user_id, u.expires_at, u.file, k.wrapped
  FROM media_uploads u
  LEFT JOIN trunkline.keys k ON k.org = u.org AND k.id = u.file_key
 WHERE u.org = %(org)s AND u.media_id = %(media_id)s;

-- icon --
-- An organisation has a handful of channels.
SELECT i.channel_id, i.file, k.wrapped
  FROM media_icons i
  LEFT JOIN trunkline.keys k ON k.org = i.org AND k.id = i.file_key
 WHERE i.org = %(org)s AND i.media_id = %(media_id)s
 LIMIT 1;

-- forgotten --
-- Nobody sent them in time: their keys are gone, and so may be their bytes.
SELECT u.org, u.expires_at, u.address
  FROM media_uploads u
 WHERE u.expires_at < %(before)s AND u.expires_at > %(after)s
   AND NOT EXISTS (SELECT FROM media_files f WHERE f.org = u.org AND f.media_id = u.media_id)
   AND NOT EXISTS (SELECT FROM media_icons i WHERE i.org = u.org AND i.media_id = u.media_id)
   -- Where an org is parked, they may have been sent by an event that is not folded yet.
   AND NOT EXISTS (
       SELECT FROM trunkline.builds b
         LEFT JOIN trunkline.checkpoints c
           ON c.projection = b.projection AND c.version = b.version AND c.build = b.build
          AND c.org = u.org
         JOIN trunkline.events e
           ON e.org = u.org AND e.position = coalesce(c.position, 0) + 1
        WHERE b.projection = 'media' AND b.schema = ANY (current_schemas(false))
          AND e.recorded_at < %(before)s)
 ORDER BY u.expires_at
 LIMIT %(limit)s;
