-- tables --
-- Rebuilt by replay: to change a column, raise the version in the name everywhere in this file.
-- A channel_id of '' means the account itself: customers' messages and echoes (S3).

CREATE TABLE IF NOT EXISTS inbox_channels_v1 (
    org              int     NOT NULL,
    channel_id       text    NOT NULL COLLATE "C",
    platform         text    NOT NULL COLLATE "C",
    account_id       text    NOT NULL COLLATE "C",
    shared           boolean NOT NULL,
    created_position bigint  NOT NULL,  -- A separate channel's history begins here (S2).
    PRIMARY KEY (org, channel_id)
);

-- Every service that has ever been on a channel: its rows are kept up also while it is away (S16).
CREATE TABLE IF NOT EXISTS inbox_connections_v1 (
    org             int     NOT NULL,
    service         text    NOT NULL COLLATE "C",
    channel_id      text    NOT NULL COLLATE "C",
    active          boolean NOT NULL,
    joined_position bigint  NOT NULL,
    PRIMARY KEY (org, service, channel_id)
);

-- What all services have in common about a chat.
CREATE TABLE IF NOT EXISTS inbox_threads_v1 (
    org                      int     NOT NULL,
    chat_id                  text    NOT NULL COLLATE "C",
    platform                 text    NOT NULL COLLATE "C",
    account_id               text    NOT NULL COLLATE "C",
    contact_id               text    NOT NULL COLLATE "C",
    is_group                 boolean NOT NULL,
    started_position         bigint  NOT NULL,
    last_customer_message_at timestamptz,  -- The messaging window counts from here (N1).
    PRIMARY KEY (org, chat_id)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS inbox_threads_v1_by_account
    ON inbox_threads_v1 (org, platform, account_id);

-- A chat as one service has it. What follows from its messages is looked up again whenever they
-- change, so neither the order of arrival nor the size of a batch can show in it.
CREATE TABLE IF NOT EXISTS inbox_chats_v1 (
    org              int     NOT NULL,
    chat_id          text    NOT NULL COLLATE "C",
    service          text    NOT NULL COLLATE "C",
    channel_id       text    NOT NULL COLLATE "C",  -- The service's own.
    owner            text    NOT NULL COLLATE "C",  -- '' for nobody: an index can seek that.
    owner_since      timestamptz,
    closed           boolean NOT NULL,
    blocked          boolean NOT NULL,
    reopened_position bigint,                       -- Begins the session after the first (C11).
    reopened_at      timestamptz,
    decided_position bigint  NOT NULL,              -- The last event that owner … reopened_at know.
    last_message_id  text    COLLATE "C",           -- NULL: the service sees no message of it.
    last_activity_at timestamptz,
    started_at       timestamptz,
    answered         boolean NOT NULL,
    PRIMARY KEY (org, chat_id, service)
) WITH (fillfactor = 80);
-- A list takes each channel's newest chats from one of these and merges them.
CREATE INDEX IF NOT EXISTS inbox_chats_v1_newest
    ON inbox_chats_v1 (org, service, channel_id, last_activity_at, chat_id)
 WHERE NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_v1_owned
    ON inbox_chats_v1 (org, service, channel_id, owner, last_activity_at, chat_id)
 WHERE NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_v1_unanswered
    ON inbox_chats_v1 (org, service, channel_id, last_activity_at, chat_id)
 WHERE NOT answered AND NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_v1_closed
    ON inbox_chats_v1 (org, service, channel_id, last_activity_at, chat_id)
 WHERE closed AND NOT blocked AND last_activity_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_chats_v1_blocked
    ON inbox_chats_v1 (org, service, channel_id, last_activity_at, chat_id)
 WHERE blocked AND last_activity_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS inbox_messages_v1 (
    org             int         NOT NULL,
    chat_id         text        NOT NULL COLLATE "C",
    message_id      text        NOT NULL COLLATE "C",
    channel_id      text        NOT NULL COLLATE "C",
    position        bigint      NOT NULL,
    at              timestamptz NOT NULL,
    rank            smallint    NOT NULL,  -- Of its status (C15); -1 for a customer's message.
    kind            text        NOT NULL,
    service         text,                  -- NULL for customers and echoes.
    user_id         text,
    content         bytea,                 -- Sealed; NULL once it is unsent (C17).
    content_key     text        COLLATE "C",
    content_type    text        NOT NULL,
    key             bytea,                 -- NULL until the platform has given its id.
    quotes          bytea,
    member          text        COLLATE "C",
    retry_of        text,
    failed_position bigint,                -- The failure that was known first is the one shown.
    failure_reason  text,
    failure_code    int,
    edited_at       timestamptz,
    edit            bytea,
    edit_key        text        COLLATE "C",
    unsent_at       timestamptz,
    PRIMARY KEY (org, chat_id, message_id)
) WITH (fillfactor = 80);
-- Sealed data does not shrink.
ALTER TABLE inbox_messages_v1 ALTER COLUMN content SET STORAGE EXTERNAL,
                              ALTER COLUMN edit SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS inbox_messages_v1_timeline
    ON inbox_messages_v1 (org, chat_id, channel_id, at, position);
CREATE INDEX IF NOT EXISTS inbox_messages_v1_by_key
    ON inbox_messages_v1 (org, chat_id, key) WHERE key IS NOT NULL;

-- Every receipt, also of messages that are not known yet (C15).
CREATE TABLE IF NOT EXISTS inbox_receipts_v1 (
    org         int         NOT NULL,
    chat_id     text        NOT NULL COLLATE "C",
    key         bytea       NOT NULL,
    position    bigint      NOT NULL,
    status      text        NOT NULL,
    rank        smallint    NOT NULL,  -- -1 for a status outside the order.
    at          timestamptz NOT NULL,
    participant bytea,
    error_code  int,
    detail      bytea,
    detail_key  text        COLLATE "C",
    PRIMARY KEY (org, chat_id, key, position)
);

-- The latest edit and the unsending of a message, known or not (C17).
CREATE TABLE IF NOT EXISTS inbox_changes_v1 (
    org             int    NOT NULL,
    chat_id         text   NOT NULL COLLATE "C",
    target          bytea  NOT NULL,
    edited_at       timestamptz,
    edited_position bigint,
    edit            bytea,
    edit_key        text   COLLATE "C",
    unsent_at       timestamptz,
    PRIMARY KEY (org, chat_id, target)
);

-- The latest reaction of each author; without content it was taken back.
CREATE TABLE IF NOT EXISTS inbox_reactions_v1 (
    org         int         NOT NULL,
    chat_id     text        NOT NULL COLLATE "C",
    target      bytea       NOT NULL,
    author      text        NOT NULL COLLATE "C",  -- customer, business, or a group's member.
    at          timestamptz NOT NULL,
    position    bigint      NOT NULL,
    content     bytea,
    content_key text        COLLATE "C",
    PRIMARY KEY (org, chat_id, target, author)
);

-- When the customer last saw a message that went through a channel; '' for echoes (C11).
CREATE TABLE IF NOT EXISTS inbox_reads_v1 (
    org          int         NOT NULL,
    chat_id      text        NOT NULL COLLATE "C",
    channel_id   text        NOT NULL COLLATE "C",
    last_read_at timestamptz NOT NULL,
    PRIMARY KEY (org, chat_id, channel_id)
) WITH (fillfactor = 80);

CREATE TABLE IF NOT EXISTS inbox_contacts_v1 (
    org           int    NOT NULL,
    contact_id    text   NOT NULL COLLATE "C",
    name          bytea  NOT NULL,
    name_key      text   NOT NULL COLLATE "C",
    name_position bigint NOT NULL,
    PRIMARY KEY (org, contact_id)
);

CREATE TABLE IF NOT EXISTS inbox_addresses_v1 (
    org         int    NOT NULL,
    contact_id  text   NOT NULL COLLATE "C",
    key         bytea  NOT NULL,
    kind        text   NOT NULL,
    position    bigint NOT NULL,
    address     bytea  NOT NULL,
    address_key text   NOT NULL COLLATE "C",
    PRIMARY KEY (org, contact_id, key)
);
