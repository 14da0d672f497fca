-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.
--
-- Every customer message gets a number per (service, account): its ordinal. What a user has not
-- seen is always the end of such a row of numbers, so a total is a subtraction. No table here
-- holds anything per message and user.
-- An account is written `<platform>:<account id>`.

CREATE TABLE IF NOT EXISTS unread_users (
    org      int    NOT NULL,
    user_id  text   NOT NULL COLLATE "C",
    role     text   NOT NULL,
    services text[] NOT NULL,  -- What an agent has access to; the other roles have everything.
    PRIMARY KEY (org, user_id)
);

CREATE TABLE IF NOT EXISTS unread_channels (
    org        int  NOT NULL,
    channel_id text NOT NULL COLLATE "C",
    account    text NOT NULL COLLATE "C",
    PRIMARY KEY (org, channel_id)
);

CREATE TABLE IF NOT EXISTS unread_customers (
    org     int  NOT NULL,
    chat_id text NOT NULL COLLATE "C",
    account text NOT NULL COLLATE "C",
    PRIMARY KEY (org, chat_id)
);

-- A service on a channel, from its first joining and for ever, also while it is away.
CREATE TABLE IF NOT EXISTS unread_lanes (
    org          int     NOT NULL,
    service      text    NOT NULL COLLATE "C",
    channel_id   text    NOT NULL COLLATE "C",
    account      text    NOT NULL COLLATE "C",
    begins_after bigint  NOT NULL,  -- The newest ordinal when the service joined first.
    active       boolean NOT NULL,
    PRIMARY KEY (org, service, channel_id)
);
CREATE INDEX IF NOT EXISTS unread_lanes_by_account ON unread_lanes (org, account);

-- The newest ordinal. A service's two channels of one account (a separate one and the shared one)
-- have the numbers in common, so that nothing is counted twice.
CREATE TABLE IF NOT EXISTS unread_tallies (
    org     int    NOT NULL,
    service text   NOT NULL COLLATE "C",
    account text   NOT NULL COLLATE "C",
    ordinal bigint NOT NULL,
    PRIMARY KEY (org, service, account)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS unread_chats (
    org      int     NOT NULL,
    chat_id  text    NOT NULL COLLATE "C",
    service  text    NOT NULL COLLATE "C",
    account  text    NOT NULL COLLATE "C",
    messages int     NOT NULL,  -- How many were counted.
    ordinal  bigint  NOT NULL,  -- Of the newest of them,
    position bigint  NOT NULL,  -- and its place in the log.
    blocked  boolean NOT NULL,
    PRIMARY KEY (org, chat_id, service)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS unread_chats_newest
    ON unread_chats (org, service, account, blocked, ordinal);

CREATE TABLE IF NOT EXISTS unread_messages (
    org      int    NOT NULL,
    chat_id  text   NOT NULL COLLATE "C",
    service  text   NOT NULL COLLATE "C",
    ordinal  bigint NOT NULL,
    messages int    NOT NULL,  -- How many the chat had then, this one included.
    PRIMARY KEY (org, chat_id, service, ordinal)
);

-- How far a user has seen a lane. No row: they had access before it began, and saw nothing yet.
CREATE TABLE IF NOT EXISTS unread_readers (
    org           int    NOT NULL,
    user_id       text   NOT NULL COLLATE "C",
    service       text   NOT NULL COLLATE "C",
    channel_id    text   NOT NULL COLLATE "C",
    ordinal       bigint NOT NULL,  -- Everything up to here has been seen.
    seen_in_chats bigint NOT NULL,  -- How many behind it were seen by visits of their chats.
    PRIMARY KEY (org, user_id, service, channel_id)
) WITH (fillfactor = 80);

-- Visits of chats since the user's last visit of the service.
CREATE TABLE IF NOT EXISTS unread_visits (
    org      int  NOT NULL,
    user_id  text NOT NULL COLLATE "C",
    service  text NOT NULL COLLATE "C",
    account  text NOT NULL COLLATE "C",
    chat_id  text NOT NULL COLLATE "C",
    messages int  NOT NULL,  -- How many the chat had when it was visited.
    PRIMARY KEY (org, user_id, service, account, chat_id)
) WITH (fillfactor = 80);

-- unread --
-- Total and list in one statement, so that they are of one moment. `active` is how far the user
-- has seen each account that the service has now. Blocked chats and chats with news are found by
-- unread_chats_newest behind that point; the rest are look-ups by primary key, written so that
-- they stay look-ups whatever the planner knows about the tables.
WITH active AS (
    SELECT DISTINCT ON (l.account)
           l.account,
           coalesce(r.ordinal, l.begins_after) AS seen_up_to,
           (SELECT t.ordinal FROM unread_tallies t
             WHERE t.org = l.org AND t.service = l.service AND t.account = l.account)
               - coalesce(r.ordinal, l.begins_after) - coalesce(r.seen_in_chats, 0) AS unread
      FROM unread_lanes l
      LEFT JOIN LATERAL (
           SELECT r.ordinal, r.seen_in_chats FROM unread_readers r
            WHERE r.org = l.org AND r.user_id = %(user_id)s AND r.service = l.service
              AND r.channel_id = l.channel_id
            LIMIT 1) r ON true
     WHERE l.org = %(org)s AND l.service = %(service)s AND l.active
     ORDER BY l.account, seen_up_to
), blocked AS (
    SELECT coalesce(sum(c.messages - greatest(
               (SELECT v.messages FROM unread_visits v
                 WHERE v.org = %(org)s AND v.user_id = %(user_id)s AND v.service = %(service)s
                   AND v.account = active.account AND v.chat_id = c.chat_id),
               (SELECT m.messages FROM unread_messages m
                 WHERE m.org = %(org)s AND m.chat_id = c.chat_id AND m.service = %(service)s
                   AND m.ordinal <= active.seen_up_to
                 ORDER BY m.ordinal DESC LIMIT 1),
               0)), 0) AS unread
      FROM active
      JOIN unread_chats c
        ON c.org = %(org)s AND c.service = %(service)s AND c.account = active.account
       AND c.blocked AND c.ordinal > active.seen_up_to
), newest AS (
    SELECT c.chat_id, c.messages, c.position, c.visited, active.seen_up_to
      FROM active
     CROSS JOIN LATERAL (
           SELECT c.chat_id, c.messages, c.position, visit.messages AS visited
             FROM unread_chats c
             LEFT JOIN LATERAL (
                  SELECT v.messages FROM unread_visits v
                   WHERE v.org = %(org)s AND v.user_id = %(user_id)s AND v.service = %(service)s
                     AND v.account = active.account AND v.chat_id = c.chat_id
                   LIMIT 1) visit ON true
            WHERE c.org = %(org)s AND c.service = %(service)s AND c.account = active.account
              AND NOT c.blocked AND c.ordinal > active.seen_up_to
              AND c.messages > coalesce(visit.messages, 0)
            ORDER BY c.ordinal DESC
            LIMIT %(chat_count_max)s) c
     ORDER BY c.position DESC
     LIMIT %(chat_count_max)s
)
SELECT total.unread, n.chat_id,
       n.messages - greatest(
           n.visited,
           (SELECT m.messages FROM unread_messages m
             WHERE m.org = %(org)s AND m.chat_id = n.chat_id AND m.service = %(service)s
               AND m.ordinal <= n.seen_up_to
             ORDER BY m.ordinal DESC LIMIT 1),
           0)
  FROM (SELECT (coalesce((SELECT sum(unread) FROM active), 0)
               - (SELECT unread FROM blocked))::bigint AS unread) total
  LEFT JOIN newest n ON true
 ORDER BY n.position DESC;

-- unread_of_chats --
-- For a page of an inbox, or for all who look at a live stream: chats by primary key. Chats
-- without anything unread are left out.
WITH active AS (
    SELECT u.user_id, l.account, min(coalesce(
               (SELECT r.ordinal FROM unread_readers r
                 WHERE r.org = l.org AND r.user_id = u.user_id AND r.service = l.service
                   AND r.channel_id = l.channel_id),
               l.begins_after)) AS seen_up_to
      FROM unread_lanes l
     CROSS JOIN unnest(%(user_ids)s::text[]) AS u (user_id)
     WHERE l.org = %(org)s AND l.service = %(service)s AND l.active
     GROUP BY u.user_id, l.account
)
SELECT active.user_id, c.chat_id,
       c.messages - greatest(
           visit.messages,
           (SELECT m.messages FROM unread_messages m
             WHERE m.org = %(org)s AND m.chat_id = c.chat_id AND m.service = %(service)s
               AND m.ordinal <= active.seen_up_to
             ORDER BY m.ordinal DESC LIMIT 1),
           0)
  FROM unread_chats c
  JOIN active ON active.account = c.account
  LEFT JOIN LATERAL (
       SELECT v.messages FROM unread_visits v
        WHERE v.org = %(org)s AND v.user_id = active.user_id AND v.service = %(service)s
          AND v.account = c.account AND v.chat_id = c.chat_id
        LIMIT 1) visit ON true
 WHERE c.org = %(org)s AND c.chat_id = ANY (%(chat_ids)s::text[]) AND c.service = %(service)s
   AND NOT c.blocked AND c.ordinal > active.seen_up_to
   AND c.messages > coalesce(visit.messages, 0);
