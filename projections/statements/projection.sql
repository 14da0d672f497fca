-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.

-- Every movement of money, and what was free: one row each, with what it was decided from.
CREATE TABLE IF NOT EXISTS statements_lines (
    org               int         NOT NULL,
    business_account  text        NOT NULL COLLATE "C",
    position          bigint      NOT NULL,  -- Of the event.
    month             text        NOT NULL COLLATE "C",
    kind              text        NOT NULL,  -- charge, refund, purchase, recharge, adjustment
    at                timestamptz NOT NULL,
    recorded_at       timestamptz NOT NULL,
    micro_usd         bigint      NOT NULL,  -- What it does to the balance.
    subject           text        NOT NULL COLLATE "C",  -- The charge or the purchase.
    user_id           text,
    note              text,
    chat_id           text,                  -- From here on: of charges, and of their refunds.
    conversation_id   text,
    platform          text,
    account_id        text,
    unit              text,
    category          text,
    country           text,
    service           text,
    free              boolean     NOT NULL,
    free_because      text,                  -- Of a free charge: allowance, entry_point
    proof             bytea,                 -- JSON: rule, card, inputs, price.
    refunded_position bigint,                -- Of a charge that was given back.
    PRIMARY KEY (org, business_account, position)
);
CREATE INDEX IF NOT EXISTS statements_lines_of_month
    ON statements_lines (org, business_account, month, position);
CREATE INDEX IF NOT EXISTS statements_lines_charges
    ON statements_lines (org, subject) WHERE kind = 'charge';

-- What each month has moved, so that an opening balance needs no look at old lines.
CREATE TABLE IF NOT EXISTS statements_months (
    org              int    NOT NULL,
    business_account text   NOT NULL COLLATE "C",
    month            text   NOT NULL COLLATE "C",
    micro_usd        bigint NOT NULL,
    PRIMARY KEY (org, business_account, month)
);

CREATE TABLE IF NOT EXISTS statements_purchases (
    org              int         NOT NULL,
    business_account text        NOT NULL COLLATE "C",
    purchase_id      text        NOT NULL COLLATE "C",
    position         bigint      NOT NULL,  -- Of the event that began it.
    at               timestamptz NOT NULL,
    state            text        NOT NULL,  -- pending, paid, failed
    credits          bigint      NOT NULL,
    micro_usd        bigint      NOT NULL,
    provider         text        NOT NULL,
    recharge         boolean     NOT NULL,
    user_id          text,
    reason           text,
    PRIMARY KEY (org, purchase_id)
);
CREATE INDEX IF NOT EXISTS statements_purchases_newest
    ON statements_purchases (org, position DESC);

-- What could be billed in another way: conversations, and the messages in them.
CREATE TABLE IF NOT EXISTS statements_conversations (
    org              int    NOT NULL,
    conversation_id  text   NOT NULL COLLATE "C",
    business_account text   NOT NULL COLLATE "C",
    platform         text   NOT NULL,
    account_id       text   NOT NULL,
    country          text,
    voided_position  bigint,
    PRIMARY KEY (org, conversation_id)
);

CREATE TABLE IF NOT EXISTS statements_messages (
    org              int         NOT NULL,
    message_id       text        NOT NULL COLLATE "C",
    business_account text        NOT NULL COLLATE "C",
    at               timestamptz NOT NULL,
    position         bigint      NOT NULL,
    conversation_id  text        NOT NULL COLLATE "C",
    chat_id          text        NOT NULL,
    service          text        NOT NULL,
    user_id          text        NOT NULL,
    category         text        NOT NULL,
    is_template      boolean     NOT NULL,
    in_window        boolean     NOT NULL,
    in_entry_point   boolean     NOT NULL,
    discarded        boolean     NOT NULL DEFAULT false,
    refused_position bigint,
    PRIMARY KEY (org, message_id)
);
CREATE INDEX IF NOT EXISTS statements_messages_in_order
    ON statements_messages (org, business_account, at, position);
CREATE INDEX IF NOT EXISTS statements_messages_by_conversation
    ON statements_messages (org, conversation_id);

-- add_lines --
INSERT INTO statements_lines (org, business_account, position, month, kind, at, recorded_at,
       micro_usd, subject, user_id, note, chat_id, conversation_id, platform, account_id, unit,
       category, country, service, free, free_because, proof)
SELECT %(org)s, * FROM unnest(
       %(business_accounts)s::text[], %(positions)s::bigint[], %(months)s::text[],
       %(kinds)s::text[], %(times)s::timestamptz[], %(recorded)s::timestamptz[],
       %(amounts)s::bigint[], %(subjects)s::text[], %(user_ids)s::text[], %(notes)s::text[],
       %(chat_ids)s::text[], %(conversation_ids)s::text[], %(platforms)s::text[],
       %(account_ids)s::text[], %(units)s::text[], %(categories)s::text[], %(countries)s::text[],
       %(services)s::text[], %(free)s::bool[], %(free_because)s::text[], %(proofs)s::bytea[])

-- add_to_months --
INSERT INTO statements_months (org, business_account, month, micro_usd)
SELECT %(org)s, * FROM unnest(
       %(business_accounts)s::text[], %(months)s::text[], %(amounts)s::bigint[])
ON CONFLICT (org, business_account, month) DO UPDATE
   SET micro_usd = statements_months.micro_usd + excluded.micro_usd

-- note_refunds --
UPDATE statements_lines AS line SET refunded_position = refund.position
  FROM unnest(%(charge_ids)s::text[], %(positions)s::bigint[]) AS refund (charge_id, position)
 WHERE line.org = %(org)s AND line.kind = 'charge' AND line.subject = refund.charge_id

-- note_purchase --
-- A purchase that was asked for keeps its place when it is paid, also after it had failed.
INSERT INTO statements_purchases (org, business_account, purchase_id, position, at, state,
       credits, micro_usd, provider, recharge, user_id)
VALUES (%(org)s, %(business_account)s, %(purchase_id)s, %(position)s, %(at)s, %(state)s,
        %(credits)s, %(micro_usd)s, %(provider)s, %(recharge)s, %(user_id)s)
ON CONFLICT (org, purchase_id) DO UPDATE SET state = excluded.state, reason = NULL

-- note_unpaid_purchase --
-- Why it failed, or why it still waits.
UPDATE statements_purchases SET state = %(state)s, reason = %(reason)s
 WHERE org = %(org)s AND purchase_id = %(purchase_id)s

-- add_conversations --
INSERT INTO statements_conversations (org, conversation_id, business_account, platform,
       account_id, country)
SELECT %(org)s, * FROM unnest(
       %(conversation_ids)s::text[], %(business_accounts)s::text[], %(platforms)s::text[],
       %(account_ids)s::text[], %(countries)s::text[])

-- add_messages --
INSERT INTO statements_messages (org, message_id, business_account, at, position,
       conversation_id, chat_id, service, user_id, category, is_template, in_window,
       in_entry_point)
SELECT %(org)s, message_id, conversation.business_account, at, position, conversation_id, chat_id,
       service, user_id, category, is_template, in_window, in_entry_point
  FROM unnest(
       %(message_ids)s::text[], %(times)s::timestamptz[], %(positions)s::bigint[],
       %(conversation_ids)s::text[], %(chat_ids)s::text[], %(services)s::text[],
       %(user_ids)s::text[], %(categories)s::text[], %(are_templates)s::bool[],
       %(in_window)s::bool[], %(in_entry_point)s::bool[])
       AS message (message_id, at, position, conversation_id, chat_id, service, user_id, category,
                   is_template, in_window, in_entry_point)
  JOIN statements_conversations AS conversation USING (conversation_id)
 WHERE conversation.org = %(org)s

-- note_discards --
UPDATE statements_messages SET discarded = true
 WHERE org = %(org)s AND message_id = ANY (%(message_ids)s::text[])

-- note_refusals --
-- C15: what was discarded is refused no more.
UPDATE statements_messages AS message SET refused_position = refusal.position
  FROM unnest(%(message_ids)s::text[], %(positions)s::bigint[]) AS refusal (message_id, position)
 WHERE message.org = %(org)s AND message.message_id = refusal.message_id
   AND message.refused_position IS NULL AND NOT message.discarded

-- note_voids --
-- Where each message has a price, a void charge says nothing of the conversation.
UPDATE statements_conversations AS conversation SET voided_position = void.position
  FROM unnest(%(conversation_ids)s::text[], %(positions)s::bigint[]) AS void (id, position)
 WHERE conversation.org = %(org)s AND conversation.conversation_id = void.id
   AND EXISTS (SELECT FROM statements_lines AS line
                WHERE line.org = %(org)s AND line.kind = 'charge' AND line.subject = void.id
                  AND line.unit = 'conversation')

-- statement --
-- The sums of a month by everything that it is shown by, its movements and its opening balance.
-- Served by statements_lines_of_month.
SELECT CASE grouping(unit, category, country, service, user_id, free_because)
            WHEN 31 THEN 'unit' WHEN 47 THEN 'category' WHEN 55 THEN 'country'
            WHEN 59 THEN 'service' WHEN 61 THEN 'agent' ELSE 'free' END AS part,
       coalesce(unit, category, country, service, user_id, free_because) AS name,
       count(*) FILTER (WHERE NOT is_void) AS count,
       count(*) FILTER (WHERE NOT is_void AND free) AS free,
       count(*) FILTER (WHERE is_void) AS refunded,
       coalesce(-sum(micro_usd) FILTER (WHERE NOT is_void), 0)::bigint AS micro_usd
  FROM (SELECT *, refunded_position IS NOT NULL AND refunded_position <= %(as_of)s AS is_void
          FROM statements_lines
         WHERE org = %(org)s AND business_account = %(business_account)s AND month = %(month)s
           AND kind = 'charge' AND position <= %(as_of)s) AS charge
 GROUP BY GROUPING SETS ((unit), (category), (country), (service), (user_id), (free_because))
HAVING grouping(free_because) = 1 OR free_because IS NOT NULL
UNION ALL
SELECT 'movement', kind, count(*), 0, 0, sum(micro_usd)::bigint
  FROM statements_lines
 WHERE org = %(org)s AND business_account = %(business_account)s AND month = %(month)s
   AND position <= %(as_of)s
 GROUP BY kind
UNION ALL
SELECT 'opening', '', 0, 0, 0, ({opening})
 ORDER BY part, count DESC, name

-- opening_now --
SELECT coalesce(sum(micro_usd), 0)::bigint FROM statements_months
 WHERE org = %(org)s AND business_account = %(business_account)s AND month < %(month)s

-- opening_then --
SELECT coalesce(sum(micro_usd), 0)::bigint FROM statements_lines
 WHERE org = %(org)s AND business_account = %(business_account)s AND month < %(month)s
   AND position <= %(as_of)s

-- lines --
-- Served by statements_lines_of_month.
SELECT position, kind, at, micro_usd, subject, user_id, note, chat_id, conversation_id, platform,
       account_id, unit, category, country, service, free, free_because, proof, refunded_position
  FROM statements_lines
 WHERE org = %(org)s AND business_account = %(business_account)s AND month = %(month)s
   AND position > %(after)s AND position <= %(as_of)s
 ORDER BY position
 LIMIT %(limit)s

-- purchases --
-- Served by statements_purchases_newest.
SELECT position, business_account, purchase_id, at, state, credits, micro_usd, provider, recharge,
       user_id, reason
  FROM statements_purchases
 WHERE org = %(org)s AND position < %(before)s
   AND (%(business_account)s::text IS NULL OR business_account = %(business_account)s)
 ORDER BY position DESC
 LIMIT %(limit)s

-- purchase --
SELECT position, business_account, purchase_id, at, state, credits, micro_usd, provider, recharge,
       user_id, reason
  FROM statements_purchases
 WHERE org = %(org)s AND purchase_id = %(purchase_id)s

-- newest_position --
-- The position that a time names: of the last line recorded by then.
SELECT coalesce(max(position), 0) FROM statements_lines
 WHERE org = %(org)s AND business_account = %(business_account)s AND recorded_at <= %(as_of)s

-- billable --
-- Every answer of a stretch of time, with what was charged for it and what became of it; read as a
-- stream. Served by statements_messages_in_order.
SELECT message.position, message.message_id, message.conversation_id, message.chat_id, message.at,
       conversation.platform, conversation.account_id, message.service, message.user_id,
       conversation.country, message.category, message.is_template, message.in_window,
       message.in_entry_point, message.refused_position AS message_void,
       CASE WHEN message.message_id = message.conversation_id
            THEN coalesce(conversation.voided_position, whole.void) END AS conversation_void,
       line.micro_usd IS NOT NULL AS is_charged,
       CASE WHEN line.refunded_position IS NULL
            THEN coalesce(-line.micro_usd, 0) ELSE 0 END AS charged_micro_usd,
       line.refunded_position IS NOT NULL AS is_refunded
  FROM statements_messages AS message
  JOIN statements_conversations AS conversation USING (org, conversation_id)
  LEFT JOIN statements_lines AS line
    ON line.org = message.org AND line.subject = message.message_id AND line.kind = 'charge'
  LEFT JOIN LATERAL (
       SELECT CASE WHEN bool_and(part.refused_position IS NOT NULL)
                   THEN max(part.refused_position) END AS void
         FROM statements_messages AS part
        WHERE message.message_id = message.conversation_id  -- Looked up for these alone.
          AND part.org = message.org AND part.conversation_id = message.message_id
       ) AS whole ON true
 WHERE message.org = %(org)s AND message.business_account = %(business_account)s
   AND message.at >= %(start)s AND message.at < %(end)s
 ORDER BY message.position
