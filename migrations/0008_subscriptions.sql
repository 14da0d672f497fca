-- When a platform is next asked whether it still delivers for an account. Whoever asks moves the
-- time first, so that one process does; Messenger alone is asked so far.
SET LOCAL lock_timeout = '4s';

ALTER TABLE accounts
    ADD COLUMN subscription_due_at timestamptz NOT NULL DEFAULT now() + interval '1 hour';
CREATE INDEX accounts_by_subscription ON accounts (subscription_due_at) WHERE held;
