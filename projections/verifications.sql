-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.
CREATE TABLE IF NOT EXISTS verifications (
    org        int         NOT NULL,
    platform   text        NOT NULL COLLATE "C",
    account_id text        NOT NULL COLLATE "C",
    position   bigint      NOT NULL,  -- Of the event that asks for the check,
    since      timestamptz NOT NULL,  -- and its time.
    PRIMARY KEY (org, platform, account_id)
);
CREATE INDEX IF NOT EXISTS verifications_oldest ON verifications (since);

-- await_check --
INSERT INTO verifications (org, platform, account_id, position, since)
VALUES (%(org)s, %(platform)s, %(account_id)s, %(position)s, %(since)s)
ON CONFLICT (org, platform, account_id) DO UPDATE
   SET position = excluded.position, since = excluded.since;

-- finish_check --
DELETE FROM verifications
 WHERE org = %(org)s AND platform = %(platform)s AND account_id = %(account_id)s;

-- pending --
-- Served by verifications_oldest. A platform that answers nobody does not hide the others' accounts.
SELECT v.org, v.platform, v.account_id, v.position
  FROM unnest(%(platforms)s::text[]) AS asked(platform)
 CROSS JOIN LATERAL (
       SELECT * FROM verifications v
        WHERE v.platform = asked.platform
          AND (v.org, v.position) NOT IN (
              SELECT * FROM unnest(%(orgs)s::int[], %(positions)s::bigint[]))
        ORDER BY v.since
        LIMIT %(limit)s) v
 ORDER BY v.since;
