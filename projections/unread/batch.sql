-- load_accounts --
-- Which accounts the chats and channels of a batch belong to.
SELECT chat_id, account, true FROM unread_customers
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[])
UNION ALL
SELECT channel_id, account, false FROM unread_channels
 WHERE org = %(org)s AND channel_id = ANY (%(channel_ids)s::text[]);

-- load_lanes --
SELECT l.service, l.channel_id, l.account, l.begins_after, l.active, t.ordinal
  FROM unread_lanes l
  JOIN unread_tallies t ON t.org = l.org AND t.service = l.service AND t.account = l.account
 WHERE l.org = %(org)s
   AND (l.account = ANY (%(accounts)s::text[]) OR l.service = ANY (%(services)s::text[])
        OR %(everything)s::boolean);

-- load_chats --
SELECT service, chat_id, account, messages, ordinal, position, blocked
  FROM unread_chats
 WHERE org = %(org)s AND chat_id = ANY (%(chat_ids)s::text[]);

-- load_users --
SELECT user_id, role, services
  FROM unread_users
 WHERE org = %(org)s AND user_id = ANY (%(user_ids)s::text[]);

-- load_readers --
SELECT r.user_id, r.service, r.channel_id, r.ordinal, r.seen_in_chats
  FROM unnest(%(user_ids)s::text[], %(services)s::text[], %(channel_ids)s::text[])
       AS wanted(user_id, service, channel_id)
  JOIN unread_readers r
    ON r.org = %(org)s AND r.user_id = wanted.user_id AND r.service = wanted.service
   AND r.channel_id = wanted.channel_id;

-- load_visits --
SELECT v.user_id, v.service, v.account, v.chat_id, v.messages
  FROM unnest(%(user_ids)s::text[], %(services)s::text[], %(accounts)s::text[],
              %(chat_ids)s::text[]) AS wanted(user_id, service, account, chat_id)
  JOIN unread_visits v
    ON v.org = %(org)s AND v.user_id = wanted.user_id AND v.service = wanted.service
   AND v.account = wanted.account AND v.chat_id = wanted.chat_id;

-- load_earlier --
-- How many messages a chat had when its service's numbers stood at an ordinal.
SELECT wanted.service, wanted.chat_id, wanted.ordinal, coalesce((
           SELECT m.messages FROM unread_messages m
            WHERE m.org = %(org)s AND m.chat_id = wanted.chat_id AND m.service = wanted.service
              AND m.ordinal <= wanted.ordinal
            ORDER BY m.ordinal DESC LIMIT 1), 0)
  FROM unnest(%(services)s::text[], %(chat_ids)s::text[], %(ordinals)s::bigint[])
       AS wanted(service, chat_id, ordinal);

-- save_users --
-- A row of rows does not fit an array, so a user's services come as words; slugs have no spaces.
INSERT INTO unread_users (org, user_id, role, services)
SELECT %(org)s, user_id, role, string_to_array(services, ' ')
  FROM unnest(%(user_ids)s::text[], %(roles)s::text[], %(services)s::text[])
       AS changed(user_id, role, services)
ON CONFLICT (org, user_id) DO UPDATE SET role = excluded.role, services = excluded.services;

-- save_channels --
INSERT INTO unread_channels (org, channel_id, account)
SELECT %(org)s, * FROM unnest(%(channel_ids)s::text[], %(accounts)s::text[])
ON CONFLICT (org, channel_id) DO NOTHING;

-- save_customers --
INSERT INTO unread_customers (org, chat_id, account)
SELECT %(org)s, * FROM unnest(%(chat_ids)s::text[], %(accounts)s::text[])
ON CONFLICT (org, chat_id) DO NOTHING;

-- save_lanes --
INSERT INTO unread_lanes (org, service, channel_id, account, begins_after, active)
SELECT %(org)s, * FROM unnest(%(services)s::text[], %(channel_ids)s::text[], %(accounts)s::text[],
                              %(begins_after)s::bigint[], %(active)s::boolean[])
ON CONFLICT (org, service, channel_id) DO UPDATE SET active = excluded.active;

-- save_tallies --
INSERT INTO unread_tallies (org, service, account, ordinal)
SELECT %(org)s, * FROM unnest(%(services)s::text[], %(accounts)s::text[], %(ordinals)s::bigint[])
ON CONFLICT (org, service, account) DO UPDATE SET ordinal = excluded.ordinal;

-- save_chats --
INSERT INTO unread_chats (org, service, chat_id, account, messages, ordinal, position, blocked)
SELECT %(org)s, * FROM unnest(%(services)s::text[], %(chat_ids)s::text[], %(accounts)s::text[],
                              %(messages)s::int[], %(ordinals)s::bigint[], %(positions)s::bigint[],
                              %(blocked)s::boolean[])
ON CONFLICT (org, chat_id, service) DO UPDATE
   SET messages = excluded.messages, ordinal = excluded.ordinal, position = excluded.position,
       blocked = excluded.blocked;

-- save_messages --
INSERT INTO unread_messages (org, service, chat_id, ordinal, messages)
SELECT %(org)s, * FROM unnest(%(services)s::text[], %(chat_ids)s::text[], %(ordinals)s::bigint[],
                              %(messages)s::int[]);

-- save_readers --
INSERT INTO unread_readers (org, user_id, service, channel_id, ordinal, seen_in_chats)
SELECT %(org)s, * FROM unnest(%(user_ids)s::text[], %(services)s::text[], %(channel_ids)s::text[],
                              %(ordinals)s::bigint[], %(seen_in_chats)s::bigint[])
ON CONFLICT (org, user_id, service, channel_id) DO UPDATE
   SET ordinal = excluded.ordinal, seen_in_chats = excluded.seen_in_chats;

-- clear_visits --
DELETE FROM unread_visits v
 USING unnest(%(user_ids)s::text[], %(services)s::text[], %(accounts)s::text[])
       AS cleared(user_id, service, account)
 WHERE v.org = %(org)s AND v.user_id = cleared.user_id AND v.service = cleared.service
   AND v.account = cleared.account;

-- save_visits --
INSERT INTO unread_visits (org, user_id, service, account, chat_id, messages)
SELECT %(org)s, * FROM unnest(%(user_ids)s::text[], %(services)s::text[], %(accounts)s::text[],
                              %(chat_ids)s::text[], %(messages)s::int[])
ON CONFLICT (org, user_id, service, account, chat_id) DO UPDATE SET messages = excluded.messages;
