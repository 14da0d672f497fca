-- chats_page --
-- Each channel on which the service is active gives its newest chats, from an index of its own
-- order; they are merged and cut. So a page costs the same however many chats there are, and a
-- channel on which the service is away costs nothing.
WITH page AS MATERIALIZED (
    SELECT c.*
      FROM inbox_connections n
      JOIN inbox_channels a ON a.org = n.org AND a.channel_id = n.channel_id
     CROSS JOIN LATERAL (
           SELECT *
             FROM inbox_chats c
            WHERE c.org = %(org)s AND c.service = %(service)s AND c.channel_id = n.channel_id
              AND c.last_activity_at IS NOT NULL
              AND {chats}
            ORDER BY c.last_activity_at DESC, c.chat_id DESC
            LIMIT {limit}) c
     WHERE n.org = %(org)s AND n.service = %(service)s AND n.active
       AND {channels}
     ORDER BY c.last_activity_at DESC, c.chat_id DESC
     LIMIT {limit}
)
SELECT true AS connected, {chat_columns}, {message_columns}
  FROM page c
  {chat_joins}
  {message_joins}
 ORDER BY c.last_activity_at DESC, c.chat_id DESC

-- chat --
-- A service that is away gets its row too, marked: the answer differs from that for a chat that
-- does not exist (S16).
SELECT n.active AS connected, {chat_columns}, {message_columns}
  FROM inbox_chats c
  JOIN inbox_connections n
    ON n.org = c.org AND n.service = c.service AND n.channel_id = c.channel_id
  {chat_joins}
  {message_joins}
 WHERE c.org = %(org)s AND c.service = %(service)s AND c.chat_id = %(chat_id)s

-- chats_named --
-- For a live stream: only chats that the service is shown now (S16).
SELECT true AS connected, {chat_columns}, {message_columns}
  FROM inbox_chats c
  JOIN inbox_connections n
    ON n.org = c.org AND n.service = c.service AND n.channel_id = c.channel_id AND n.active
  {chat_joins}
  {message_joins}
 WHERE c.org = %(org)s AND c.service = %(service)s AND c.chat_id = ANY (%(chat_ids)s::text[])

-- counts --
-- Kinds of chats are counted when they change: some rows for each owner, however many chats.
SELECT coalesce(sum(k.chats) FILTER (WHERE NOT k.blocked), 0)::bigint AS "all",
       coalesce(sum(k.chats) FILTER (WHERE NOT k.blocked AND k.owner = %(viewer)s), 0)::bigint
           AS mine,
       coalesce(sum(k.chats) FILTER (WHERE NOT k.blocked AND k.owner = ''), 0)::bigint
           AS unassigned,
       coalesce(sum(k.chats) FILTER (WHERE k.blocked), 0)::bigint AS blocked,
       coalesce(sum(k.chats) FILTER (WHERE NOT k.blocked AND k.closed), 0)::bigint AS closed,
       coalesce(sum(k.chats) FILTER (WHERE NOT k.blocked AND NOT k.answered), 0)::bigint
           AS unanswered
  FROM inbox_connections n
  JOIN inbox_counts k
    ON k.org = n.org AND k.service = n.service AND k.channel_id = n.channel_id
 WHERE n.org = %(org)s AND n.service = %(service)s AND n.active

-- messages_page --
-- Two index scans, newest first, merged: what concerns the account, and what went through the
-- viewer's channel. Replies through other channels do not exist for it (S2, S3).
WITH page AS MATERIALIZED (
    SELECT * FROM (
        (SELECT * FROM inbox_messages m
          WHERE m.org = %(org)s AND m.chat_id = %(chat_id)s AND m.channel_id = ''
            AND m.position >= %(sees_from)s
            AND {older}
          ORDER BY m.at DESC, m.position DESC
          LIMIT {limit})
        UNION ALL
        (SELECT * FROM inbox_messages m
          WHERE m.org = %(org)s AND m.chat_id = %(chat_id)s AND m.channel_id = %(channel_id)s
            AND {older}
          ORDER BY m.at DESC, m.position DESC
          LIMIT {limit})) seen
     ORDER BY at DESC, position DESC
     LIMIT {limit}
)
SELECT {message_columns}
  FROM page m
 CROSS JOIN (VALUES (%(channel_id)s, %(sees_from)s)) v (channel_id, sees_from)
  {message_joins}
 ORDER BY m.at DESC, m.position DESC

-- message --
SELECT {message_columns}
  FROM inbox_messages m
 CROSS JOIN (VALUES (%(channel_id)s, %(sees_from)s)) v (channel_id, sees_from)
  {message_joins}
 WHERE m.org = %(org)s AND m.chat_id = %(chat_id)s AND m.message_id = %(message_id)s
   AND (m.channel_id = v.channel_id OR m.channel_id = '' AND m.position >= v.sees_from)

-- messages_named --
-- Each by our id or else by its key, as the channel sees it through which its chat is looked at.
SELECT {message_columns}
  FROM unnest(%(chat_ids)s::text[], %(message_ids)s::text[], %(keys)s::bytea[],
              %(channel_ids)s::text[], %(sees_from)s::bigint[])
       AS v (chat_id, message_id, key, channel_id, sees_from)
 CROSS JOIN LATERAL (
       SELECT * FROM inbox_messages o
        WHERE o.message_id = v.message_id AND o.org = %(org)s AND o.chat_id = v.chat_id
        UNION ALL
       SELECT * FROM inbox_messages o
        WHERE v.message_id IS NULL
          AND o.key = v.key AND o.chat_id = v.chat_id AND o.org = %(org)s) m
  {message_joins}
 WHERE m.channel_id = v.channel_id OR m.channel_id = '' AND m.position >= v.sees_from

-- receipts --
-- Everything a platform said about one message, in the order in which we heard it (C15).
SELECT r.position, r.status, r.at, r.participant, r.error_code, r.detail, k.wrapped
  FROM inbox_messages m
  JOIN inbox_receipts r ON r.org = m.org AND r.chat_id = m.chat_id AND r.key = m.key
  LEFT JOIN trunkline.keys k ON k.org = r.org AND k.id = r.detail_key
 WHERE m.org = %(org)s AND m.chat_id = %(chat_id)s AND m.message_id = %(message_id)s
 ORDER BY r.position
 LIMIT %(limit)s

-- chat_columns --
c.chat_id, c.channel_id AS view_channel_id, v.sees_from, t.platform, t.account_id, t.contact_id,
t.is_group, t.last_customer_message_at, c.closed, c.blocked, c.owner, c.owner_since, c.answered,
c.started_at, c.last_activity_at,
coalesce(c.reopened_position, greatest(t.started_position, v.sees_from)) AS session_position,
coalesce(c.reopened_at, c.started_at) AS session_started_at, seen.last_read_at,
p.name, pk.wrapped AS name_wrapped,
d.kind AS address_kind, d.address, dk.wrapped AS address_wrapped,
NOT coalesce(w.wants_marketing, true) AS marketing_opt_out

-- chat_joins --
JOIN inbox_channels a ON a.org = c.org AND a.channel_id = c.channel_id
CROSS JOIN LATERAL (
     SELECT a.channel_id, CASE WHEN a.shared THEN 0 ELSE a.created_position END AS sees_from) v
JOIN inbox_threads t ON t.org = c.org AND t.chat_id = c.chat_id
JOIN inbox_messages m
  ON m.org = c.org AND m.chat_id = c.chat_id AND m.message_id = c.last_message_id
LEFT JOIN LATERAL (
     SELECT max(r.last_read_at) AS last_read_at
       FROM inbox_reads r
      WHERE r.org = c.org AND r.chat_id = c.chat_id
        AND (r.channel_id = c.channel_id OR a.shared AND r.channel_id = '')) seen ON true
LEFT JOIN inbox_contacts p ON p.org = c.org AND p.contact_id = t.contact_id
LEFT JOIN trunkline.keys pk ON pk.org = c.org AND pk.id = p.name_key
LEFT JOIN LATERAL (
     SELECT d.kind, d.address, d.address_key
       FROM inbox_addresses d
      WHERE d.org = c.org AND d.contact_id = t.contact_id
      ORDER BY (d.kind = 'phone') DESC, d.position DESC
      LIMIT 1) d ON true
LEFT JOIN trunkline.keys dk ON dk.org = c.org AND dk.id = d.address_key
LEFT JOIN inbox_preferences w
  ON w.org = c.org AND w.contact_id = t.contact_id AND w.account = t.platform || ':' || t.account_id

-- message_columns --
m.chat_id, m.message_id, m.position, m.at, m.rank, m.kind, m.channel_id, m.service, m.user_id,
m.key, m.member, m.retry_of, m.failure_reason, m.failure_code,
m.content, m.content_type, mk.wrapped AS content_wrapped,
m.edited_at, m.edit, ek.wrapped AS edit_wrapped, m.unsent_at,
b.name AS member_name, bk.wrapped AS member_name_wrapped, q.message_id AS quotes,
e.reaction_authors, e.reaction_times, e.reactions, e.reactions_wrapped,
f.file_parts, f.files, f.files_wrapped, f.file_reasons

-- message_joins --
-- A quoted message that the viewer's channel cannot see is not named either.
LEFT JOIN trunkline.keys mk ON mk.org = m.org AND mk.id = m.content_key
LEFT JOIN trunkline.keys ek ON ek.org = m.org AND ek.id = m.edit_key
LEFT JOIN inbox_contacts b ON b.org = m.org AND b.contact_id = m.member
LEFT JOIN trunkline.keys bk ON bk.org = m.org AND bk.id = b.name_key
LEFT JOIN LATERAL (
     SELECT o.message_id
       FROM inbox_messages o
      WHERE o.org = m.org AND o.chat_id = m.chat_id AND o.key = m.quotes
        AND (o.channel_id = v.channel_id OR o.channel_id = '' AND o.position >= v.sees_from)
      LIMIT 1) q ON true
LEFT JOIN LATERAL (
     SELECT array_agg(r.author ORDER BY r.at, r.position) AS reaction_authors,
            array_agg(r.at ORDER BY r.at, r.position) AS reaction_times,
            array_agg(r.content ORDER BY r.at, r.position) AS reactions,
            array_agg(rk.wrapped ORDER BY r.at, r.position) AS reactions_wrapped
       FROM inbox_reactions r
       LEFT JOIN trunkline.keys rk ON rk.org = r.org AND rk.id = r.content_key
      WHERE r.org = m.org AND r.chat_id = m.chat_id AND r.target = m.key
        AND r.content IS NOT NULL) e ON m.unsent_at IS NULL
LEFT JOIN LATERAL (
     SELECT array_agg(g.part ORDER BY g.part) AS file_parts,
            array_agg(g.file ORDER BY g.part) AS files,
            array_agg(gk.wrapped ORDER BY g.part) AS files_wrapped,
            array_agg(g.reason ORDER BY g.part) AS file_reasons
       FROM media_files g
       LEFT JOIN trunkline.keys gk ON gk.org = g.org AND gk.id = g.file_key
      WHERE g.org = m.org AND g.chat_id = m.chat_id AND g.message_id = m.message_id
        AND m.channel_id = '' AND m.unsent_at IS NULL
        AND m.kind IN ('image', 'video', 'audio', 'file', 'document', 'sticker')) f ON true
