-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.

-- Where a chat's messages go.
CREATE TABLE IF NOT EXISTS outbox_chats (
    org        int  NOT NULL,
    chat_id    text NOT NULL COLLATE "C",
    platform   text NOT NULL COLLATE "C",
    account_id text NOT NULL COLLATE "C",
    contact_id text NOT NULL COLLATE "C",
    PRIMARY KEY (org, chat_id)
);

CREATE TABLE IF NOT EXISTS outbox_addresses (
    org        int    NOT NULL,
    contact_id text   NOT NULL COLLATE "C",
    key        bytea  NOT NULL,
    kind       text   NOT NULL,
    position   bigint NOT NULL,  -- When it was added: the oldest is named first.
    address    bytea  NOT NULL,  -- Sealed, as JSON,
    sealed_by  text   NOT NULL COLLATE "C",  -- with this key.
    PRIMARY KEY (org, contact_id, key)
);

CREATE TABLE IF NOT EXISTS outbox_accounts (
    org        int     NOT NULL,
    platform   text    NOT NULL COLLATE "C",
    account_id text    NOT NULL COLLATE "C",
    stopped    boolean NOT NULL,
    PRIMARY KEY (org, platform, account_id)
);

CREATE TABLE IF NOT EXISTS outbox_channels (
    org        int  NOT NULL,
    channel_id text NOT NULL COLLATE "C",
    platform   text NOT NULL COLLATE "C",
    account_id text NOT NULL COLLATE "C",
    PRIMARY KEY (org, channel_id)
);

-- The messages that wait. `turn`: no other message of the chat is before it (N4).
CREATE TABLE IF NOT EXISTS outbox (
    org          int         NOT NULL,
    chat_id      text        NOT NULL COLLATE "C",
    version      int         NOT NULL,  -- Of the request, in the chat's stream,
    position     bigint      NOT NULL,  -- and its place in the log.
    message_id   text        NOT NULL,
    platform     text        NOT NULL COLLATE "C",
    account_id   text        NOT NULL COLLATE "C",
    contact_id   text        NOT NULL COLLATE "C",
    channel_id   text        NOT NULL COLLATE "C",
    service      text        NOT NULL COLLATE "C",
    kind         text        NOT NULL,
    requested_at timestamptz NOT NULL,
    content      bytea       NOT NULL,  -- Sealed, as JSON,
    sealed_by    text        NOT NULL COLLATE "C",  -- with this key.
    template     text,
    category     text,
    quotes       bytea,
    turn         boolean     NOT NULL,
    state        text        NOT NULL CHECK (state IN ('waiting', 'sending')),
    attempt      int         NOT NULL,
    dispatcher   text,
    claimed_at   timestamptz,
    due_at       timestamptz NOT NULL,
    service_left boolean     NOT NULL,  -- It is to fail, also where the account is stopped.
    held         boolean     NOT NULL,  -- Its account is stopped.
    tag          text,
    PRIMARY KEY (org, chat_id, version)
) WITH (fillfactor = 80);
-- A message changes often in its short life, and many come and go: dead rows must not pile up.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS outbox_by_account
    ON outbox (org, platform, account_id, channel_id, service);
CREATE INDEX IF NOT EXISTS outbox_ready ON outbox (org, platform, account_id, due_at)
    WHERE turn AND state = 'waiting' AND NOT held;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at)
    WHERE turn AND state = 'waiting' AND NOT held;
CREATE INDEX IF NOT EXISTS outbox_claimed ON outbox (claimed_at) WHERE state = 'sending';

-- due_messages --
-- The first half. `busy` hops through outbox_ready from account to account, so that a long
-- queue on one does not delay the others; and each account's first comes before any's second.
WITH RECURSIVE busy AS (
    (SELECT org, platform, account_id FROM outbox
      WHERE turn AND state = 'waiting' AND NOT held
      ORDER BY org, platform, account_id LIMIT 1)
    UNION ALL
    SELECT next.org, next.platform, next.account_id
      FROM busy
     CROSS JOIN LATERAL (
           SELECT o.org, o.platform, o.account_id FROM outbox o
            WHERE (o.org, o.platform, o.account_id)
                  > (busy.org, busy.platform, busy.account_id)
              AND o.turn AND o.state = 'waiting' AND NOT o.held
            ORDER BY o.org, o.platform, o.account_id LIMIT 1) next
), chosen AS MATERIALIZED (
    SELECT o.*
      FROM busy
     CROSS JOIN LATERAL (
           SELECT o.*, row_number() OVER (ORDER BY o.due_at) AS rank FROM outbox o
            WHERE o.org = busy.org AND o.platform = busy.platform
              AND o.account_id = busy.account_id
              AND o.turn AND o.state = 'waiting' AND NOT o.held AND o.due_at <= %(now)s
              AND (o.org, o.chat_id) NOT IN (
                  SELECT * FROM unnest(%(chat_orgs)s::int[], %(chat_ids)s::text[]))
            ORDER BY o.due_at
            LIMIT %(limit_per_account)s) o
     WHERE (busy.org, busy.platform, busy.account_id) NOT IN (
           SELECT * FROM unnest(%(orgs)s::int[], %(platforms)s::text[], %(account_ids)s::text[]))
     ORDER BY o.rank, o.due_at
     LIMIT %(limit)s
)

-- one_message --
-- By primary key; a chat has few messages that wait.
WITH chosen AS MATERIALIZED (
    SELECT *, 1 AS rank FROM outbox
     WHERE org = %(org)s AND chat_id = %(chat_id)s AND message_id = %(message_id)s
)

-- outgoing --
-- The second half of both: what a dispatcher needs beyond the message is looked up for the few
-- rows that were chosen.
SELECT o.org, o.chat_id, o.message_id, o.platform, o.account_id, o.contact_id, o.kind, o.content,
       (SELECT k.wrapped FROM trunkline.keys k WHERE k.org = o.org AND k.id = o.sealed_by)
           AS wrapped_key,
       o.tag, o.attempt,
       (SELECT array_agg(a.kind ORDER BY a.position, a.key) FROM outbox_addresses a
         WHERE a.org = o.org AND a.contact_id = o.contact_id) AS address_kinds,
       (SELECT array_agg(a.address ORDER BY a.position, a.key) FROM outbox_addresses a
         WHERE a.org = o.org AND a.contact_id = o.contact_id) AS addresses,
       (SELECT array_agg((SELECT k.wrapped FROM trunkline.keys k
                           WHERE k.org = a.org AND k.id = a.sealed_by)
                         ORDER BY a.position, a.key)
          FROM outbox_addresses a
         WHERE a.org = o.org AND a.contact_id = o.contact_id) AS address_keys
  FROM chosen o
 ORDER BY o.rank, o.due_at, o.org, o.position;

-- orphans --
-- Served by outbox_claimed.
SELECT org, platform, account_id, chat_id, message_id, attempt
  FROM outbox
 WHERE state = 'sending' AND claimed_at < %(claimed_before)s
 ORDER BY claimed_at
 LIMIT %(limit)s;

-- next_due --
-- Served by outbox_due.
SELECT min(due_at) FROM outbox WHERE turn AND state = 'waiting' AND NOT held;

-- waiting --
-- By primary key, a page at a time. Time runs out also for what cannot be sent: its account is
-- stopped or left in peace, or the platform has named a far time (N3).
SELECT org, platform, account_id, chat_id, message_id
  FROM outbox
 WHERE turn AND state = 'waiting' AND (org, chat_id) > (%(org)s, %(chat_id)s)
 ORDER BY org, chat_id
 LIMIT %(limit)s;

-- backlogs --
-- All that waits, of all organisations, for operators.
SELECT platform, CASE WHEN held THEN 'held' ELSE state END AS state, count(*) AS messages,
       greatest(extract(epoch FROM now() - min(requested_at)), 0)::float AS oldest_seconds
  FROM outbox
 GROUP BY 1, 2
 ORDER BY 1, 2
