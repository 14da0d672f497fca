-- tables --
-- Rebuilt by replay: to change a column, raise the projection's version.

-- Purchases whose provider is to be asked; gone when it has answered for good.
CREATE TABLE IF NOT EXISTS payments (
    org              int         NOT NULL,
    purchase_id      text        NOT NULL COLLATE "C",
    business_account text        NOT NULL COLLATE "C",
    provider         text        NOT NULL,
    recharge         boolean     NOT NULL,
    tries            int         NOT NULL DEFAULT 0,
    due_at           timestamptz NOT NULL,
    PRIMARY KEY (org, purchase_id)
);
CREATE INDEX IF NOT EXISTS payments_due ON payments (due_at);

-- Business accounts whose newest recharge failed.
CREATE TABLE IF NOT EXISTS payments_failed_recharges (
    org              int         NOT NULL,
    business_account text        NOT NULL COLLATE "C",
    purchase_id      text        NOT NULL COLLATE "C",
    due_at           timestamptz,  -- When it is asked for anew, if it is.
    PRIMARY KEY (org, business_account)
);
CREATE INDEX IF NOT EXISTS payments_failed_recharges_due ON payments_failed_recharges (due_at);

-- ask --
INSERT INTO payments (org, purchase_id, business_account, provider, recharge, due_at)
VALUES (%(org)s, %(purchase_id)s, %(business_account)s, %(provider)s, %(recharge)s, %(due_at)s)
ON CONFLICT (org, purchase_id) DO NOTHING

-- ask_later --
UPDATE payments SET due_at = %(due_at)s, tries = %(tries)s
 WHERE org = %(org)s AND purchase_id = %(purchase_id)s

-- settle --
DELETE FROM payments
 WHERE org = %(org)s AND purchase_id = %(purchase_id)s

-- note_failed_recharge --
INSERT INTO payments_failed_recharges (org, business_account, purchase_id, due_at)
SELECT org, business_account, purchase_id, %(due_at)s
  FROM payments
 WHERE org = %(org)s AND purchase_id = %(purchase_id)s AND recharge
ON CONFLICT (org, business_account) DO UPDATE
   SET purchase_id = excluded.purchase_id, due_at = excluded.due_at

-- note_asked_anew --
UPDATE payments_failed_recharges SET due_at = NULL
 WHERE org = %(org)s AND business_account = %(business_account)s

-- forget_failed_recharge --
DELETE FROM payments_failed_recharges
 WHERE org = %(org)s AND business_account = %(business_account)s

-- due --
-- Served by payments_due.
SELECT org, business_account, purchase_id, provider, tries
  FROM payments
 WHERE due_at <= %(now)s
 ORDER BY due_at
 LIMIT %(limit)s

-- due_recharges --
-- Served by payments_failed_recharges_due.
SELECT org, business_account, purchase_id
  FROM payments_failed_recharges
 WHERE due_at <= %(now)s
 ORDER BY due_at
 LIMIT %(limit)s

-- counts --
-- Small tables: what is settled is gone.
SELECT (SELECT count(*) FROM payments) AS waiting,
       (SELECT count(*) FROM payments_failed_recharges) AS failed_recharges
