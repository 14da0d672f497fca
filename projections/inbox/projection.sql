-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.
-- A channel_id of '' means the account itself: customers' messages and echoes (S3).
-- Ranks are those of STATUS_RANK in domain/outgoing.py (C15): 0 queued, 1 uncertain, 2 sent,
-- 3 delivered, 4 read, 5 played, 6 failed; -1 is outside the order. So a message of `rank >= 0` is
-- outbound, `rank < 6` has not failed, and receipts of rank 4 and 5 say that it was seen.

CREATE TABLE IF NOT EXISTS inbox_channels (
    org              int     NOT NULL,
    channel_id       text    NOT NULL COLLATE "C",
    platform         text    NOT NULL COLLATE "C",
    account_id       text    NOT NULL COLLATE "C",
    shared           boolean NOT NULL,
    created_position bigint  NOT NULL  -- A separate channel's history begins here (S2).
);

-- Every service that has ever been on a channel: its rows are kept up also while it is away (S16).
CREATE TABLE IF NOT EXISTS inbox_connections (
    org             int     NOT NULL,
    service         text    NOT NULL COLLATE "C",
    channel_id      text    NOT NULL COLLATE "C",
    active          boolean NOT NULL,
    joined_position bigint  NOT NULL
);

-- What all services have in common about a chat.
CREATE TABLE IF NOT EXISTS inbox_threads (
    org                      int     NOT NULL,
    chat_id                  text    NOT NULL COLLATE "C",
    platform                 text    NOT NULL COLLATE "C",
    account_id               text    NOT NULL COLLATE "C",
    contact_id               text    NOT NULL COLLATE "C",
    is_group                 boolean NOT NULL,
    started_position         bigint  NOT NULL,
    last_customer_message_at timestamptz  -- The messaging window counts from here (N1).
) WITH (fillfactor = 80);

-- A chat as one service has it. What follows from its messages is looked up again whenever they
-- change, so neither the order of arrival nor the size of a batch can show in it.
CREATE TABLE IF NOT EXISTS inbox_chats (
    org              int     NOT NULL,
    chat_id          text    NOT NULL COLLATE "C",
    service          text    NOT NULL COLLATE "C",
    channel_id       text    NOT NULL COLLATE "C",  -- The service's own.
    owner            text    NOT NULL COLLATE "C",  -- '' for nobody: an index can seek that.
    owner_since      timestamptz,
    closed           boolean NOT NULL,
    blocked          boolean NOT NULL,
    reopened_position bigint,                       -- Begins the session after the first (C11).
    reopened_at      timestamptz,
    decided_position bigint  NOT NULL,              -- The last event that owner … reopened_at know.
    last_message_id  text    COLLATE "C",           -- NULL: the service sees no message of it.
    last_activity_at timestamptz,
    started_at       timestamptz,
    answered         boolean NOT NULL
) WITH (fillfactor = 80);

-- How many chats of a kind a service sees.
CREATE TABLE IF NOT EXISTS inbox_counts (
    org        int     NOT NULL,
    service    text    NOT NULL COLLATE "C",
    channel_id text    NOT NULL COLLATE "C",
    owner      text    NOT NULL COLLATE "C",
    answered   boolean NOT NULL,
    closed     boolean NOT NULL,
    blocked    boolean NOT NULL,
    chats      bigint  NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS inbox_messages (
    org             int         NOT NULL,
    chat_id         text        NOT NULL COLLATE "C",
    message_id      text        NOT NULL COLLATE "C",
    channel_id      text        NOT NULL COLLATE "C",
    position        bigint      NOT NULL,
    at              timestamptz NOT NULL,
    rank            smallint    NOT NULL,  -- Of its status (C15); -1 for a customer's message.
    kind            text        NOT NULL,
    service         text,                  -- NULL for customers and echoes.
    user_id         text,
    content         bytea,                 -- Sealed; NULL once it is unsent (C17).
    content_key     text        COLLATE "C",
    content_type    text        NOT NULL,
    key             bytea,                 -- NULL until the platform has given its id.
    quotes          bytea,
    member          text        COLLATE "C",
    retry_of        text,
    failed_position bigint,                -- The failure that was known first is the one shown.
    failure_reason  text,
    failure_code    int,
    edited_at       timestamptz,
    edit            bytea,
    edit_key        text        COLLATE "C",
    unsent_at       timestamptz
) WITH (fillfactor = 80);
-- Sealed data does not shrink.
ALTER TABLE inbox_messages ALTER COLUMN content SET STORAGE EXTERNAL,
                           ALTER COLUMN edit SET STORAGE EXTERNAL;

-- Every receipt, also of messages that are not known yet (C15).
CREATE TABLE IF NOT EXISTS inbox_receipts (
    org         int         NOT NULL,
    chat_id     text        NOT NULL COLLATE "C",
    key         bytea       NOT NULL,
    position    bigint      NOT NULL,
    status      text        NOT NULL,
    rank        smallint    NOT NULL,  -- -1 for a status outside the order.
    at          timestamptz NOT NULL,
    participant bytea,
    error_code  int,
    reason      text,                  -- Our word for the error.
    detail      bytea,
    detail_key  text        COLLATE "C"
);

-- The latest edit of a message, known to us or not; none once it is unsent (C17).
CREATE TABLE IF NOT EXISTS inbox_edits (
    org         int         NOT NULL,
    chat_id     text        NOT NULL COLLATE "C",
    target      bytea       NOT NULL,
    at          timestamptz NOT NULL,
    position    bigint      NOT NULL,
    content     bytea       NOT NULL,
    content_key text        NOT NULL COLLATE "C"
);

CREATE TABLE IF NOT EXISTS inbox_unsends (
    org     int         NOT NULL,
    chat_id text        NOT NULL COLLATE "C",
    target  bytea       NOT NULL,
    at      timestamptz NOT NULL
);

-- The latest reaction of each author; without content it was taken back.
CREATE TABLE IF NOT EXISTS inbox_reactions (
    org         int         NOT NULL,
    chat_id     text        NOT NULL COLLATE "C",
    target      bytea       NOT NULL,
    author      text        NOT NULL COLLATE "C",  -- customer, business, or a group's member.
    at          timestamptz NOT NULL,
    position    bigint      NOT NULL,
    content     bytea,
    content_key text        COLLATE "C"
);

-- When the customer last saw a message that went through a channel; '' for echoes (C11).
CREATE TABLE IF NOT EXISTS inbox_reads (
    org          int         NOT NULL,
    chat_id      text        NOT NULL COLLATE "C",
    channel_id   text        NOT NULL COLLATE "C",
    last_read_at timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE IF NOT EXISTS inbox_contacts (
    org           int    NOT NULL,
    contact_id    text   NOT NULL COLLATE "C",
    name          bytea  NOT NULL,
    name_key      text   NOT NULL COLLATE "C",
    name_position bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS inbox_addresses (
    org         int    NOT NULL,
    contact_id  text   NOT NULL COLLATE "C",
    key         bytea  NOT NULL,
    kind        text   NOT NULL,
    position    bigint NOT NULL,
    address     bytea  NOT NULL,
    address_key text   NOT NULL COLLATE "C"
);

-- Whether the customer takes marketing on an account: what they said last (N5).
CREATE TABLE IF NOT EXISTS inbox_preferences (
    org             int         NOT NULL,
    contact_id      text        NOT NULL COLLATE "C",
    account         text        NOT NULL COLLATE "C",  -- `<platform>:<account id>`
    at              timestamptz NOT NULL,
    position        bigint      NOT NULL,
    wants_marketing boolean     NOT NULL
);

-- indexes --
-- A section of its own, because a rebuild fills the tables before it makes these.
ALTER TABLE inbox_channels ADD PRIMARY KEY (org, channel_id);
ALTER TABLE inbox_connections ADD PRIMARY KEY (org, service, channel_id);
ALTER TABLE inbox_threads ADD PRIMARY KEY (chat_id, org);
ALTER TABLE inbox_chats ADD PRIMARY KEY (org, chat_id, service);
ALTER TABLE inbox_counts
    ADD PRIMARY KEY (org, service, channel_id, owner, answered, closed, blocked);
ALTER TABLE inbox_messages ADD PRIMARY KEY (message_id, org);
ALTER TABLE inbox_receipts ADD PRIMARY KEY (org, chat_id, key, position);
ALTER TABLE inbox_edits ADD PRIMARY KEY (org, chat_id, target);
ALTER TABLE inbox_unsends ADD PRIMARY KEY (org, chat_id, target);
ALTER TABLE inbox_reactions ADD PRIMARY KEY (org, chat_id, target, author);
ALTER TABLE inbox_reads ADD PRIMARY KEY (org, chat_id, channel_id);
ALTER TABLE inbox_contacts ADD PRIMARY KEY (org, contact_id);
ALTER TABLE inbox_addresses ADD PRIMARY KEY (org, contact_id, key);
ALTER TABLE inbox_preferences ADD PRIMARY KEY (org, contact_id, account);
CREATE INDEX IF NOT EXISTS inbox_threads_by_account
    ON inbox_threads (org, platform, account_id);
-- A list takes each channel's newest chats from one of these and merges them.
CREATE INDEX IF NOT EXISTS inbox_chats_newest
    ON inbox_chats (org, service, channel_id, last_activity_at, chat_id)
 WHERE NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_owned
    ON inbox_chats (org, service, channel_id, owner, last_activity_at, chat_id)
 WHERE NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_answered
    ON inbox_chats (org, service, channel_id, answered, last_activity_at, chat_id)
 WHERE NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_closed
    ON inbox_chats (org, service, channel_id, last_activity_at, chat_id)
 WHERE closed AND NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_blocked
    ON inbox_chats (org, service, channel_id, last_activity_at, chat_id)
 WHERE blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_messages_timeline
    ON inbox_messages (org, channel_id, chat_id, at, position);
CREATE INDEX IF NOT EXISTS inbox_messages_by_key
    ON inbox_messages (key, chat_id, org) WHERE key IS NOT NULL;

-- plan_look_ups --
-- Every statement of the fold looks rows up by key, however many there are, and is planned once:
-- planning a small batch takes longer than running it. The planner, who then knows nothing of the
-- tables, would rather read them whole; 5,000 events took seconds. So it is left no other way:
-- no joins but loops, look-ups as LATERAL subqueries behind an OFFSET where a join could be turned
-- round, and `IS TRUE` around what no index is to be chosen for.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('enable_material', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)

-- read_channels --
-- Of an org, all: there are few, and any event of a batch may concern any of them.
SELECT channel_id, platform, account_id, shared, created_position
  FROM inbox_channels
 WHERE org = %(org)s

-- read_connections --
SELECT service, channel_id, active, joined_position
  FROM inbox_connections
 WHERE org = %(org)s

-- read_threads --
SELECT chat_id, platform, account_id, contact_id, is_group, started_position,
       last_customer_message_at
  FROM inbox_threads
 WHERE chat_id = ANY (%(chat_ids)s::text[]) AND (org = %(org)s) IS TRUE

-- read_decided --
SELECT chat_id, service, owner, owner_since, closed, blocked, reopened_position, reopened_at,
       decided_position
  FROM inbox_chats
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]) AND decided_position > 0

-- write_channels --
INSERT INTO inbox_channels (org, channel_id, platform, account_id, shared, created_position)
SELECT %(org)s, *
  FROM unnest(%(channel_ids)s::text[], %(platforms)s::text[], %(account_ids)s::text[],
              %(shared)s::bool[], %(positions)s::bigint[])
ON CONFLICT (org, channel_id) DO NOTHING

-- write_connections --
INSERT INTO inbox_connections AS n (org, service, channel_id, active, joined_position)
SELECT %(org)s, *
  FROM unnest(%(services)s::text[], %(channel_ids)s::text[], %(active)s::bool[],
              %(joined)s::bigint[])
ON CONFLICT (org, service, channel_id) DO UPDATE
   SET active = excluded.active, joined_position = excluded.joined_position

-- write_threads --
INSERT INTO inbox_threads AS t (org, chat_id, platform, account_id, contact_id, is_group,
                                started_position, last_customer_message_at)
SELECT %(org)s, *
  FROM unnest(%(chat_ids)s::text[], %(platforms)s::text[], %(account_ids)s::text[],
              %(contact_ids)s::text[], %(groups)s::bool[], %(positions)s::bigint[],
              %(times)s::timestamptz[])
ON CONFLICT (chat_id, org) DO UPDATE
   SET last_customer_message_at = excluded.last_customer_message_at
 WHERE t.last_customer_message_at IS DISTINCT FROM excluded.last_customer_message_at

-- write_messages --
INSERT INTO inbox_messages (org, chat_id, message_id, channel_id, position, at, rank, kind,
                            service, user_id, content, content_key, content_type, key, quotes,
                            member, retry_of, failed_position, failure_reason, failure_code,
                            edited_at, edit, edit_key, unsent_at)
SELECT %(org)s, *
  FROM unnest(%(chat_id)s::text[], %(message_id)s::text[], %(channel_id)s::text[],
              %(position)s::bigint[], %(at)s::timestamptz[], %(rank)s::smallint[],
              %(kind)s::text[], %(service)s::text[], %(user_id)s::text[], %(content)s::bytea[],
              %(content_key)s::text[], %(content_type)s::text[], %(key)s::bytea[],
              %(quotes)s::bytea[], %(member)s::text[], %(retry_of)s::text[],
              %(failed_position)s::bigint[], %(failure_reason)s::text[],
              %(failure_code)s::int[], %(edited_at)s::timestamptz[], %(edit)s::bytea[],
              %(edit_key)s::text[], %(unsent_at)s::timestamptz[])
ON CONFLICT (message_id, org) DO NOTHING

-- settle_by_id --
-- What the dispatcher found out. Of a message in the same batch it is in the row already.
UPDATE inbox_messages m
   SET rank = greatest(m.rank, s.rank), key = coalesce(m.key, s.key),
       failed_position = least(m.failed_position, s.failed_position),
       failure_reason = CASE WHEN s.failed_position < coalesce(m.failed_position,
                                                               s.failed_position + 1)
                             THEN s.failure_reason ELSE m.failure_reason END,
       failure_code = CASE WHEN s.failed_position < coalesce(m.failed_position,
                                                             s.failed_position + 1)
                           THEN s.failure_code ELSE m.failure_code END
  FROM unnest(%(chat_id)s::text[], %(message_id)s::text[], %(rank)s::smallint[],
              %(key)s::bytea[], %(failed_position)s::bigint[], %(failure_reason)s::text[],
              %(failure_code)s::int[])
       AS s (chat_id, message_id, rank, key, failed_position, failure_reason, failure_code)
 CROSS JOIN LATERAL (
       SELECT o.ctid AS place
         FROM inbox_messages o
        WHERE o.message_id = s.message_id AND (o.org = %(org)s) IS TRUE
       OFFSET 0) found
 WHERE m.ctid = found.place
   AND (s.rank > m.rank OR m.key IS NULL AND s.key IS NOT NULL
        OR s.failed_position < m.failed_position)

-- write_receipts --
INSERT INTO inbox_receipts (org, chat_id, key, position, status, rank, at, participant,
                            error_code, reason, detail, detail_key)
SELECT %(org)s, *
  FROM unnest(%(chat_ids)s::text[], %(keys)s::bytea[], %(positions)s::bigint[],
              %(statuses)s::text[], %(ranks)s::smallint[], %(times)s::timestamptz[],
              %(participants)s::bytea[], %(error_codes)s::int[], %(reasons)s::text[],
              %(details)s::bytea[], %(detail_keys)s::text[])
ON CONFLICT (org, chat_id, key, position) DO NOTHING

-- write_edits --
INSERT INTO inbox_edits AS e (org, chat_id, target, at, position, content, content_key)
SELECT %(org)s, *
  FROM unnest(%(chat_ids)s::text[], %(targets)s::bytea[], %(times)s::timestamptz[],
              %(positions)s::bigint[], %(contents)s::bytea[], %(content_keys)s::text[])
ON CONFLICT (org, chat_id, target) DO UPDATE
   SET at = excluded.at, position = excluded.position,
       content = excluded.content, content_key = excluded.content_key
 WHERE (excluded.at, excluded.position) > (e.at, e.position)

-- write_unsends --
INSERT INTO inbox_unsends (org, chat_id, target, at)
SELECT %(org)s, *
  FROM unnest(%(chat_ids)s::text[], %(targets)s::bytea[], %(times)s::timestamptz[])
ON CONFLICT (org, chat_id, target) DO NOTHING

-- forget_edits --
-- What is unsent leaves nothing of what it said, whichever came first.
DELETE FROM inbox_edits
 WHERE ctid = ANY (ARRAY (
       SELECT found.place
         FROM unnest(%(chat_ids)s::text[], %(targets)s::bytea[]) AS t (chat_id, target)
        CROSS JOIN LATERAL (
              SELECT e.ctid AS place
                FROM inbox_edits e
               WHERE e.org = %(org)s AND e.chat_id = t.chat_id AND e.target = t.target
                 AND EXISTS (SELECT FROM inbox_unsends u
                              WHERE u.org = %(org)s AND u.chat_id = t.chat_id
                                AND u.target = t.target)
              OFFSET 0) found))

-- write_reactions --
INSERT INTO inbox_reactions AS r (org, chat_id, target, author, at, position, content,
                                  content_key)
SELECT %(org)s, *
  FROM unnest(%(chat_ids)s::text[], %(targets)s::bytea[], %(authors)s::text[],
              %(times)s::timestamptz[], %(positions)s::bigint[], %(contents)s::bytea[],
              %(content_keys)s::text[])
ON CONFLICT (org, chat_id, target, author) DO UPDATE
   SET at = excluded.at, position = excluded.position,
       content = excluded.content, content_key = excluded.content_key
 WHERE (excluded.at, excluded.position) > (r.at, r.position)

-- write_names --
INSERT INTO inbox_contacts AS p (org, contact_id, name, name_key, name_position)
SELECT %(org)s, *
  FROM unnest(%(contact_ids)s::text[], %(names)s::bytea[], %(name_keys)s::text[],
              %(positions)s::bigint[])
ON CONFLICT (org, contact_id) DO UPDATE
   SET name = excluded.name, name_key = excluded.name_key, name_position = excluded.name_position
 WHERE excluded.name_position > p.name_position

-- write_addresses --
INSERT INTO inbox_addresses (org, contact_id, key, kind, position, address, address_key)
SELECT %(org)s, *
  FROM unnest(%(contact_ids)s::text[], %(keys)s::bytea[], %(kinds)s::text[],
              %(positions)s::bigint[], %(addresses)s::bytea[], %(address_keys)s::text[])
ON CONFLICT (org, contact_id, key) DO UPDATE
   SET kind = excluded.kind, position = excluded.position,
       address = excluded.address, address_key = excluded.address_key

-- remove_addresses --
DELETE FROM inbox_addresses
 WHERE org = %(org)s
   AND (contact_id, key) IN (SELECT * FROM unnest(%(contact_ids)s::text[], %(keys)s::bytea[]))

-- write_preferences --
INSERT INTO inbox_preferences AS w (org, contact_id, account, at, position, wants_marketing)
SELECT %(org)s, *
  FROM unnest(%(contact_ids)s::text[], %(accounts)s::text[], %(times)s::timestamptz[],
              %(positions)s::bigint[], %(wants_marketing)s::bool[])
ON CONFLICT (org, contact_id, account) DO UPDATE
   SET at = excluded.at, position = excluded.position,
       wants_marketing = excluded.wants_marketing
 WHERE (excluded.at, excluded.position) > (w.at, w.position)

-- drop_echoes --
-- An echo of what we sent ourselves is no second message, whichever was known first (C17).
DELETE FROM inbox_messages
 WHERE ctid = ANY (ARRAY (
       SELECT found.place
         FROM unnest(%(chat_ids)s::text[], %(keys)s::bytea[]) AS t (chat_id, key)
        CROSS JOIN LATERAL (
              SELECT e.ctid AS place
                FROM inbox_messages e
               WHERE e.key = t.key AND (e.org = %(org)s AND e.chat_id = t.chat_id) IS TRUE
                 AND e.service IS NULL AND e.rank >= 0
                 AND EXISTS (SELECT FROM inbox_messages own
                              WHERE own.key = t.key
                                AND (own.org = %(org)s AND own.chat_id = t.chat_id) IS TRUE
                                AND own.service IS NOT NULL)
              OFFSET 0) found))
RETURNING chat_id

-- forget_reads --
-- What was read of a dropped echo was read of the message itself: count it anew.
WITH forgotten AS (
    DELETE FROM inbox_reads
     WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]))
SELECT chat_id, key
  FROM inbox_messages
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]) AND key IS NOT NULL AND rank >= 0

-- settle_by_key --
-- Joins receipts, edits and unsendings to their messages: whichever came first, it is here now.
-- A separate channel sees an echo, and that it was read, from its creation on.
WITH known AS MATERIALIZED (
    SELECT m.ctid AS place, m.chat_id, m.channel_id, m.position,
           greatest(m.rank, r.rank) AS rank, r.failed_position, r.failure_reason, r.failure_code,
           r.last_read_at,
           e.at AS edited_at, e.content AS edit, e.content_key AS edit_key, u.at AS unsent_at,
           r.rank > m.rank OR r.failed_position < m.failed_position
               OR e.at IS DISTINCT FROM m.edited_at OR e.content IS DISTINCT FROM m.edit
               OR u.at IS DISTINCT FROM m.unsent_at AS is_news,
           r.failed_position < coalesce(m.failed_position, r.failed_position + 1)
               AS is_first_failure
      FROM unnest(%(chat_ids)s::text[], %(keys)s::bytea[]) AS t (chat_id, key)
     CROSS JOIN LATERAL (
           SELECT *, m.ctid
             FROM inbox_messages m
            WHERE m.key = t.key AND (m.org = %(org)s AND m.chat_id = t.chat_id) IS TRUE
           OFFSET 0) m
      LEFT JOIN LATERAL (
           SELECT max(r.rank) AS rank,
                  min(r.position) FILTER (WHERE r.rank = 6) AS failed_position,
                  (array_agg(r.error_code ORDER BY r.position) FILTER (WHERE r.rank = 6))[1]
                      AS failure_code,
                  (array_agg(r.reason ORDER BY r.position) FILTER (WHERE r.rank = 6))[1]
                      AS failure_reason,
                  max(r.at) FILTER (WHERE r.rank IN (4, 5)) AS last_read_at
             FROM inbox_receipts r
            WHERE r.org = %(org)s AND r.chat_id = t.chat_id AND r.key = t.key
              AND m.rank >= 0) r ON true
      LEFT JOIN inbox_edits e ON e.org = %(org)s AND e.chat_id = t.chat_id AND e.target = t.key
      LEFT JOIN inbox_unsends u
        ON u.org = %(org)s AND u.chat_id = t.chat_id AND u.target = t.key
), settled AS (
    UPDATE inbox_messages m
       SET rank = k.rank,
           failed_position = least(m.failed_position, k.failed_position),
           failure_reason = CASE WHEN k.is_first_failure THEN k.failure_reason
                                 ELSE m.failure_reason END,
           failure_code = CASE WHEN k.is_first_failure THEN k.failure_code ELSE m.failure_code END,
           edited_at = k.edited_at, edit = k.edit, edit_key = k.edit_key,
           unsent_at = k.unsent_at,
           content = CASE WHEN k.unsent_at IS NULL THEN m.content END
      FROM known k
     WHERE m.ctid = k.place AND k.is_news
)
INSERT INTO inbox_reads AS seen (org, chat_id, channel_id, last_read_at)
SELECT %(org)s, chat_id, channel_id, max(last_read_at)
  FROM (SELECT chat_id, channel_id, last_read_at FROM known
        UNION ALL
        SELECT k.chat_id, a.channel_id, k.last_read_at
          FROM known k
          JOIN inbox_threads t ON t.org = %(org)s AND t.chat_id = k.chat_id
          JOIN inbox_channels a
            ON a.org = t.org AND a.platform = t.platform AND a.account_id = t.account_id
           AND NOT a.shared AND a.created_position <= k.position
         WHERE k.channel_id = '' AND k.last_read_at IS NOT NULL) read
 WHERE last_read_at IS NOT NULL
 GROUP BY chat_id, channel_id
ON CONFLICT (org, chat_id, channel_id) DO UPDATE SET last_read_at = excluded.last_read_at
 WHERE excluded.last_read_at > seen.last_read_at

-- touched_chats --
SELECT *
  FROM unnest(%(chat_ids)s::text[], %(services)s::text[], %(owners)s::text[],
              %(owner_since)s::timestamptz[], %(closed)s::bool[], %(blocked)s::bool[],
              %(reopened_position)s::bigint[], %(reopened_at)s::timestamptz[],
              %(decided_position)s::bigint[], %(channel_ids)s::text[], %(sees_from)s::bigint[])
       AS touched (chat_id, service, owner, owner_since, closed, blocked, reopened_position,
                   reopened_at, decided_position, channel_id, sees_from)

-- seated_chats --
-- All chats of an account on which a service got a channel, or another one.
SELECT t.chat_id, s.service, coalesce(k.owner, '') AS owner, k.owner_since,
       coalesce(k.closed, false) AS closed, coalesce(k.blocked, false) AS blocked,
       k.reopened_position, k.reopened_at, coalesce(k.decided_position, 0) AS decided_position,
       s.channel_id, s.sees_from
  FROM unnest(%(services)s::text[], %(channel_ids)s::text[], %(sees_from)s::bigint[],
              %(platforms)s::text[], %(account_ids)s::text[])
       AS s (service, channel_id, sees_from, platform, account_id)
  JOIN inbox_threads t
    ON t.org = %(org)s AND t.platform = s.platform AND t.account_id = s.account_id
  LEFT JOIN inbox_chats k
    ON k.org = %(org)s AND k.chat_id = t.chat_id AND k.service = s.service

-- refresh_chats --
-- Looks up again what follows from a chat's messages, as one service's channel sees them: the
-- account's and its own. Each of three look-ups reads one end of both timelines, and takes the one of
-- them that lies further out. Where a chat counts otherwise than before, the counts follow; one that
-- comes to 0 goes, so that the rows are the same whether it did or was never more.
WITH looked AS MATERIALIZED (
    SELECT ROW (%(org)s, t.chat_id, t.service, t.channel_id, t.owner, t.owner_since, t.closed,
                t.blocked, t.reopened_position, t.reopened_at, t.decided_position,
                newest.message_id, newest.at, oldest.at,
                coalesce(CASE WHEN newest.rank < 6 THEN newest.rank ELSE answer.rank END >= 0, false)
               )::inbox_chats AS chat, before.chat AS before, before.place
      FROM ({chats}) t
      LEFT JOIN LATERAL (
           SELECT c AS chat, c.ctid AS place
             FROM inbox_chats c
            WHERE c.org = %(org)s AND c.chat_id = t.chat_id AND c.service = t.service
           OFFSET 0) before ON true
      -- The newest message of all.
      LEFT JOIN LATERAL (
           SELECT m.*
             FROM (VALUES ('', t.sees_from), (t.channel_id, 0)) s (channel_id, sees_from)
            CROSS JOIN LATERAL (
                  SELECT m.message_id, m.at, m.position, m.rank
                    FROM inbox_messages m
                   WHERE m.org = %(org)s AND m.chat_id = t.chat_id
                     AND m.channel_id = s.channel_id AND m.position >= s.sees_from
                   ORDER BY m.at DESC, m.position DESC LIMIT 1) m
            ORDER BY m.at DESC, m.position DESC LIMIT 1) newest ON true
      -- When the oldest was written.
      LEFT JOIN LATERAL (
           SELECT min(m.at) AS at
             FROM (VALUES ('', t.sees_from), (t.channel_id, 0)) s (channel_id, sees_from)
            CROSS JOIN LATERAL (
                  SELECT m.at
                    FROM inbox_messages m
                   WHERE m.org = %(org)s AND m.chat_id = t.chat_id
                     AND m.channel_id = s.channel_id AND m.position >= s.sees_from
                   ORDER BY m.at LIMIT 1) m) oldest ON true
      -- The newest that has not failed; looked for only where the newest of all has.
      LEFT JOIN LATERAL (
           SELECT m.rank
             FROM (VALUES ('', t.sees_from), (t.channel_id, 0)) s (channel_id, sees_from)
            CROSS JOIN LATERAL (
                  SELECT m.rank, m.at, m.position
                    FROM inbox_messages m
                   WHERE newest.rank = 6 AND m.rank < 6
                     AND m.org = %(org)s AND m.chat_id = t.chat_id
                     AND m.channel_id = s.channel_id AND m.position >= s.sees_from
                   ORDER BY m.at DESC, m.position DESC LIMIT 1) m
            ORDER BY m.at DESC, m.position DESC LIMIT 1) answer ON true
), counted AS MATERIALIZED (
    SELECT d.*, coalesce(known.chats, 0) + d.change AS chats, known.place
      FROM (SELECT (v.chat).service, (v.chat).channel_id, (v.chat).owner, (v.chat).answered,
                   (v.chat).closed, (v.chat).blocked, sum(v.change) AS change
              FROM looked
             CROSS JOIN LATERAL (VALUES (chat, 1), (before, -1)) v (chat, change)
             WHERE (v.chat).last_activity_at IS NOT NULL
             GROUP BY 1, 2, 3, 4, 5, 6
            HAVING sum(v.change) <> 0) d
      LEFT JOIN LATERAL (
           SELECT n.chats, n.ctid AS place
             FROM inbox_counts n
            WHERE n.org = %(org)s AND n.service = d.service AND n.channel_id = d.channel_id
              AND n.owner = d.owner AND n.answered = d.answered AND n.closed = d.closed
              AND n.blocked = d.blocked
           OFFSET 0) known ON true
), emptied AS (
    DELETE FROM inbox_counts
     WHERE ctid = ANY (ARRAY (SELECT place FROM counted WHERE chats = 0))
), filled AS (
    INSERT INTO inbox_counts (org, service, channel_id, owner, answered, closed, blocked, chats)
    SELECT %(org)s, service, channel_id, owner, answered, closed, blocked, chats
      FROM counted
     WHERE chats <> 0
    ON CONFLICT (org, service, channel_id, owner, answered, closed, blocked) DO UPDATE
       SET chats = excluded.chats
)
MERGE INTO inbox_chats c
USING looked n ON c.ctid = n.place
WHEN MATCHED AND (n.chat).last_message_id IS NULL AND (n.chat).decided_position = 0 THEN DELETE
WHEN MATCHED AND n.chat IS DISTINCT FROM n.before THEN
     UPDATE SET (org, chat_id, service, channel_id, owner, owner_since, closed, blocked,
                 reopened_position, reopened_at, decided_position, last_message_id,
                 last_activity_at, started_at, answered) = ROW ((n.chat).*)
WHEN NOT MATCHED AND ((n.chat).last_message_id IS NOT NULL OR (n.chat).decided_position > 0) THEN
     INSERT VALUES ((n.chat).*)
