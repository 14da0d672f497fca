-- copy_channels --
COPY inbox_channels FROM STDIN (FORMAT binary)

-- copy_connections --
COPY inbox_connections FROM STDIN (FORMAT binary)

-- copy_threads --
COPY inbox_threads FROM STDIN (FORMAT binary)

-- copy_chats --
COPY inbox_chats FROM STDIN (FORMAT binary)

-- copy_messages --
COPY inbox_messages FROM STDIN (FORMAT binary)

-- copy_receipts --
COPY inbox_receipts FROM STDIN (FORMAT binary)

-- copy_edits --
COPY inbox_edits FROM STDIN (FORMAT binary)

-- copy_unsends --
COPY inbox_unsends FROM STDIN (FORMAT binary)

-- copy_reactions --
COPY inbox_reactions FROM STDIN (FORMAT binary)

-- copy_reads --
COPY inbox_reads FROM STDIN (FORMAT binary)

-- copy_contacts --
COPY inbox_contacts FROM STDIN (FORMAT binary)

-- copy_addresses --
COPY inbox_addresses FROM STDIN (FORMAT binary)

-- copy_preferences --
COPY inbox_preferences FROM STDIN (FORMAT binary)

-- count --
INSERT INTO inbox_counts (org, service, channel_id, owner, answered, closed, blocked, chats)
SELECT org, service, channel_id, owner, answered, closed, blocked, count(*)
  FROM inbox_chats
 WHERE org = %(org)s AND last_activity_at IS NOT NULL
 GROUP BY org, service, channel_id, owner, answered, closed, blocked
