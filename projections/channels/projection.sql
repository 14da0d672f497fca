-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.
CREATE TABLE IF NOT EXISTS channels (
    org              int     NOT NULL,
    channel_id       text    NOT NULL COLLATE "C",
    created_position bigint  NOT NULL,
    platform         text    NOT NULL COLLATE "C",
    account_id       text    NOT NULL COLLATE "C",
    address          text,
    name             text    NOT NULL,
    shared           boolean NOT NULL,
    parent           text,
    released         boolean NOT NULL,
    PRIMARY KEY (org, channel_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS channels_in_order ON channels (org, created_position);

-- Versions are those of the channel's stream, which a decision's candidates name (S9).
CREATE TABLE IF NOT EXISTS channels_connections (
    org              int         NOT NULL,
    channel_id       text        NOT NULL COLLATE "C",
    service          text        NOT NULL COLLATE "C",
    active           boolean     NOT NULL,
    created_position bigint      NOT NULL,
    created_version  int         NOT NULL,
    joined_position  bigint      NOT NULL,
    joined_version   int         NOT NULL,
    connected_at     timestamptz NOT NULL,
    PRIMARY KEY (org, channel_id, service)
);

CREATE TABLE IF NOT EXISTS channels_accounts (
    org                 int         NOT NULL,
    platform            text        NOT NULL COLLATE "C",
    account_id          text        NOT NULL COLLATE "C",
    business_account_id text,
    verification        text        NOT NULL,
    verification_reason text,
    health              text        NOT NULL,
    health_reason       text,
    health_until        timestamptz,           -- Where it ends by itself.
    health_since        timestamptz NOT NULL,
    unsubscribed        text,                  -- Why the platform delivers nothing for it,
    unsubscribed_since  timestamptz,           -- which matters only where it takes messages.
    PRIMARY KEY (org, platform, account_id)
);

CREATE TABLE IF NOT EXISTS channels_decisions (
    org        int         NOT NULL,
    channel_id text        NOT NULL COLLATE "C",
    position   bigint      NOT NULL,
    at         timestamptz NOT NULL,
    kind       text        NOT NULL,
    rule       text        NOT NULL,
    cause      text        NOT NULL,
    candidates bytea       NOT NULL,  -- JSON, in the order of the event.
    chosen     text,
    previous   text,
    PRIMARY KEY (org, channel_id, position)
);

-- read_channels --
SELECT channel_id, created_position, platform, account_id, address, name, shared, parent, released
  FROM channels
 WHERE org = %(org)s AND channel_id = ANY (%(channel_ids)s::text[])

-- read_connections --
SELECT channel_id, service, active, created_position, created_version, joined_position,
       joined_version, connected_at
  FROM channels_connections
 WHERE org = %(org)s AND channel_id = ANY (%(channel_ids)s::text[])

-- read_accounts --
SELECT platform, account_id, business_account_id, verification, verification_reason, health,
       health_reason, health_until, health_since, unsubscribed, unsubscribed_since
  FROM channels_accounts
 WHERE org = %(org)s
   AND (platform, account_id) IN (
       SELECT * FROM unnest(%(platforms)s::text[], %(account_ids)s::text[]))

-- write_channel --
INSERT INTO channels (org, channel_id, created_position, platform, account_id, address, name,
                      shared, parent, released)
VALUES (%(org)s, %(channel_id)s, %(created_position)s, %(platform)s, %(account_id)s, %(address)s,
        %(name)s, %(shared)s, %(parent)s, %(released)s)
ON CONFLICT (org, channel_id) DO UPDATE
   SET name = excluded.name, parent = excluded.parent, released = excluded.released

-- forget_connections --
-- Those of the changed channels are written anew: there are few, and some may be gone.
DELETE FROM channels_connections
 WHERE org = %(org)s AND channel_id = ANY (%(channel_ids)s::text[])

-- write_connection --
INSERT INTO channels_connections (org, channel_id, service, active, created_position,
                                  created_version, joined_position, joined_version,
                                  connected_at)
VALUES (%(org)s, %(channel_id)s, %(service)s, %(active)s, %(created_position)s,
        %(created_version)s, %(joined_position)s, %(joined_version)s, %(connected_at)s)

-- write_account --
INSERT INTO channels_accounts (org, platform, account_id, business_account_id, verification,
                               verification_reason, health, health_reason, health_until,
                               health_since, unsubscribed, unsubscribed_since)
VALUES (%(org)s, %(platform)s, %(account_id)s, %(business_account_id)s, %(verification)s,
        %(verification_reason)s, %(health)s, %(health_reason)s, %(health_until)s,
        %(health_since)s, %(unsubscribed)s, %(unsubscribed_since)s)
ON CONFLICT (org, platform, account_id) DO UPDATE
   SET business_account_id = excluded.business_account_id, verification = excluded.verification,
       verification_reason = excluded.verification_reason, health = excluded.health,
       health_reason = excluded.health_reason, health_until = excluded.health_until,
       health_since = excluded.health_since, unsubscribed = excluded.unsubscribed,
       unsubscribed_since = excluded.unsubscribed_since

-- write_decision --
-- A decision never changes.
INSERT INTO channels_decisions (org, channel_id, position, at, kind, rule, cause, candidates,
                                chosen, previous)
VALUES (%(org)s, %(channel_id)s, %(position)s, %(at)s, %(kind)s, %(rule)s, %(cause)s,
        %(candidates)s, %(chosen)s, %(previous)s)
ON CONFLICT (org, channel_id, position) DO NOTHING

-- channels --
-- In the order in which they were made; served by channels_in_order, or by the key for one.
SELECT c.channel_id, c.created_position, c.platform, c.account_id, a.business_account_id,
       c.address, c.name, c.shared, c.parent, c.released, a.verification, a.verification_reason,
       i.media_id AS icon_media_id, a.health, a.health_reason, a.health_since, a.unsubscribed,
       a.unsubscribed_since, s.services, s.active, s.connected_at,
       -- What has ended by itself is over without an event.
       CASE WHEN a.health_until <= now() THEN a.health_until END AS health_ended
  FROM channels c
  LEFT JOIN channels_accounts a
    ON a.org = c.org AND a.platform = c.platform AND a.account_id = c.account_id
  LEFT JOIN LATERAL (
       SELECT array_agg(n.service ORDER BY n.created_position) AS services,
              array_agg(n.active ORDER BY n.created_position) AS active,
              array_agg(n.connected_at ORDER BY n.created_position) AS connected_at
         FROM channels_connections n
        WHERE n.org = c.org AND n.channel_id = c.channel_id) s ON true
  LEFT JOIN media_icons i ON i.org = c.org AND i.channel_id = c.channel_id
 WHERE c.org = %(org)s AND {wanted}
 ORDER BY c.created_position
 LIMIT %(limit)s

-- decisions --
SELECT position, at, kind, rule, cause, candidates, chosen, previous
  FROM channels_decisions
 WHERE org = %(org)s AND channel_id = %(channel_id)s AND position > %(after)s
 ORDER BY position
 LIMIT %(limit)s

-- accounts_by_health --
-- Of all organisations, for operators: how many accounts of a platform are how well.
SELECT a.platform,
       CASE WHEN a.health <> 'ok' AND (a.health_until <= now()) IS NOT TRUE THEN a.health
            WHEN a.unsubscribed IS NOT NULL THEN 'unsubscribed' ELSE 'ok' END AS health,
       count(*) AS accounts
  FROM channels_accounts a
 WHERE EXISTS (SELECT FROM channels c
                WHERE c.org = a.org AND c.platform = a.platform AND c.account_id = a.account_id
                  AND NOT c.released)
 GROUP BY 1, 2
