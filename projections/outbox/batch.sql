-- load_chats --
SELECT chat_id, platform, account_id, contact_id
  FROM outbox_chats
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]);

-- load_accounts --
-- The few accounts to which nothing can be sent now.
SELECT wanted.platform, wanted.account_id
  FROM unnest(%(platforms)s::text[], %(account_ids)s::text[]) AS wanted(platform, account_id)
  JOIN outbox_accounts a
    ON a.org = %(org)s AND a.platform = wanted.platform AND a.account_id = wanted.account_id
 WHERE a.stopped;

-- load_messages --
SELECT chat_id, version, message_id, service_left, turn, state, attempt, dispatcher, claimed_at,
       due_at
  FROM outbox
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]);

-- save_chats --
INSERT INTO outbox_chats (org, chat_id, platform, account_id, contact_id)
SELECT %(org)s, * FROM unnest(%(chat_ids)s::text[], %(platforms)s::text[],
                              %(account_ids)s::text[], %(contact_ids)s::text[])
ON CONFLICT (org, chat_id) DO NOTHING;

-- save_channels --
INSERT INTO outbox_channels (org, channel_id, platform, account_id)
SELECT %(org)s, * FROM unnest(%(channel_ids)s::text[], %(platforms)s::text[],
                              %(account_ids)s::text[])
ON CONFLICT (org, channel_id) DO NOTHING;

-- drop_addresses --
DELETE FROM outbox_addresses a
 USING unnest(%(contact_ids)s::text[], %(keys)s::bytea[]) AS dropped(contact_id, key)
 WHERE a.org = %(org)s AND a.contact_id = dropped.contact_id AND a.key = dropped.key;

-- save_addresses --
INSERT INTO outbox_addresses (org, contact_id, key, kind, position, address, sealed_by)
SELECT %(org)s, * FROM unnest(%(contact_ids)s::text[], %(keys)s::bytea[], %(kinds)s::text[],
                              %(positions)s::bigint[], %(addresses)s::bytea[],
                              %(sealed_by)s::text[])
ON CONFLICT (org, contact_id, key) DO UPDATE
   SET kind = excluded.kind, position = excluded.position, address = excluded.address,
       sealed_by = excluded.sealed_by;

-- drop_messages --
DELETE FROM outbox o
 USING unnest(%(chat_ids)s::text[], %(versions)s::int[]) AS gone(chat_id, version)
 WHERE o.org = %(org)s AND o.chat_id = gone.chat_id AND o.version = gone.version;

-- save_messages --
UPDATE outbox o
   SET turn = c.turn, state = c.state, attempt = c.attempt, dispatcher = c.dispatcher,
       claimed_at = c.claimed_at, due_at = c.due_at
  FROM unnest(%(chat_ids)s::text[], %(versions)s::int[], %(turns)s::boolean[],
              %(states)s::text[], %(attempts)s::int[], %(dispatchers)s::text[],
              %(claimed_at)s::timestamptz[], %(due_at)s::timestamptz[])
       AS c(chat_id, version, turn, state, attempt, dispatcher, claimed_at, due_at)
 WHERE o.org = %(org)s AND o.chat_id = c.chat_id AND o.version = c.version;

-- add_messages --
INSERT INTO outbox (
    org, chat_id, version, turn, state, attempt, dispatcher, claimed_at, due_at, position,
    message_id, platform, account_id, contact_id, channel_id, service, kind, requested_at,
    content, sealed_by, template, category, quotes, tag, held,
    service_left)
SELECT %(org)s, *, false FROM unnest(
    %(chat_ids)s::text[], %(versions)s::int[], %(turns)s::boolean[], %(states)s::text[],
    %(attempts)s::int[], %(dispatchers)s::text[], %(claimed_at)s::timestamptz[],
    %(due_at)s::timestamptz[], %(positions)s::bigint[], %(message_ids)s::text[],
    %(platforms)s::text[], %(account_ids)s::text[], %(contact_ids)s::text[],
    %(channel_ids)s::text[], %(services)s::text[], %(kinds)s::text[],
    %(requested_at)s::timestamptz[], %(contents)s::bytea[], %(sealed_by)s::text[],
    %(templates)s::text[], %(categories)s::text[], %(quotes)s::bytea[], %(tags)s::text[],
    %(held)s::boolean[]);

-- stop_account --
INSERT INTO outbox_accounts (org, platform, account_id, stopped)
VALUES (%(org)s, %(platform)s, %(account_id)s, true)
ON CONFLICT (org, platform, account_id) DO UPDATE SET stopped = true;

-- hold_messages --
UPDATE outbox SET held = true
 WHERE org = %(org)s AND platform = %(platform)s AND account_id = %(account_id)s
   AND NOT held AND NOT service_left;

-- resume_account --
UPDATE outbox_accounts SET stopped = false
 WHERE org = %(org)s AND platform = %(platform)s AND account_id = %(account_id)s AND stopped;

-- release_messages --
UPDATE outbox SET held = false, due_at = least(due_at, %(at)s)
 WHERE org = %(org)s AND platform = %(platform)s AND account_id = %(account_id)s AND held;

-- leave_channel --
-- What the service still had to send is due at once: it is going to fail.
UPDATE outbox o
   SET service_left = true, held = false, due_at = least(o.due_at, %(at)s)
  FROM outbox_channels c
 WHERE c.org = %(org)s AND c.channel_id = %(channel_id)s
   AND o.org = c.org AND o.platform = c.platform AND o.account_id = c.account_id
   AND o.channel_id = c.channel_id AND o.service = %(service)s;

-- return_to_channel --
UPDATE outbox o
   SET service_left = false,
       held = EXISTS (SELECT FROM outbox_accounts a
                       WHERE a.org = o.org AND a.platform = o.platform
                         AND a.account_id = o.account_id AND a.stopped)
  FROM outbox_channels c
 WHERE c.org = %(org)s AND c.channel_id = %(channel_id)s
   AND o.org = c.org AND o.platform = c.platform AND o.account_id = c.account_id
   AND o.channel_id = c.channel_id AND o.service = %(service)s
   AND o.service_left;
