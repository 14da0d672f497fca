-- The one way into the log. One call is one batch of whole commands, in one transaction.
SET LOCAL lock_timeout = '4s';

-- When an organisation has moved on since the caller looked, nothing is written and the error is
-- TL001. The heads a caller names prove that every version its commands have read is still the
-- newest. A known command id, or an address that somebody else wrote first, ends in
-- unique_violation; find_losers says whose it is.
CREATE FUNCTION append_batch(
    head_orgs int[], head_positions bigint[], head_hashes bytea[],
    next_positions bigint[], next_hashes bytea[], next_recorded_at timestamptz[],
    event_orgs int[], event_positions bigint[], event_streams text[], event_versions int[],
    event_types text[], event_schemas int[], event_recorded_at timestamptz[],
    event_commands bytea[], event_data bytea[], event_hashes bytea[],
    command_orgs int[], command_ids bytea[], command_positions bigint[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
DECLARE
    fitting bigint;
BEGIN
    -- First of all, and in the order of the orgs: two batches never wait for each other crosswise.
    PERFORM FROM heads h WHERE h.org = ANY (head_orgs) ORDER BY h.org FOR UPDATE;
    SELECT count(*) INTO fitting
      FROM heads h
      JOIN unnest(head_orgs, head_positions, head_hashes) AS assumed(org, at, link)
        ON h.org = assumed.org AND h.position = assumed.at AND h.hash = assumed.link;
    IF fitting <> cardinality(head_orgs) THEN
        RAISE EXCEPTION 'an organisation has moved on' USING ERRCODE = 'TL001';
    END IF;
    INSERT INTO commands (org, id, position)
    SELECT * FROM unnest(command_orgs, command_ids, command_positions);
    INSERT INTO events (org, position, stream, version, type, schema_version, recorded_at,
                        command, data, hash)
    SELECT * FROM unnest(event_orgs, event_positions, event_streams, event_versions, event_types,
                         event_schemas, event_recorded_at, event_commands, event_data,
                         event_hashes);
    UPDATE heads h SET position = n.at, hash = n.link, recorded_at = n.moment
      FROM unnest(head_orgs, next_positions, next_hashes, next_recorded_at)
           AS n(org, at, link, moment)
     WHERE h.org = n.org;
END $$;

-- What else commands write in the log's transaction; most batches need none of it.
CREATE FUNCTION append_companions(
    key_orgs int[], key_ids text[], key_wrapped bytea[], key_expires_at timestamptz[],
    dropped_orgs int[], dropped_keys bytea[],
    address_orgs int[], address_keys bytea[], address_contacts text[],
    idempotency_orgs int[], idempotency_keys bytea[], idempotency_requests bytea[],
    idempotency_statuses int[], idempotency_positions bigint[], idempotency_ids bytea[],
    idempotency_created_at timestamptz[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
BEGIN
    INSERT INTO keys (org, id, wrapped, expires_at)
    SELECT * FROM unnest(key_orgs, key_ids, key_wrapped, key_expires_at);
    DELETE FROM addresses a USING unnest(dropped_orgs, dropped_keys) AS d(org, key)
     WHERE a.org = d.org AND a.key = d.key;
    INSERT INTO addresses (org, key, contact)
    SELECT * FROM unnest(address_orgs, address_keys, address_contacts);
    INSERT INTO idempotency_keys (org, key, request, status, position, ids, created_at)
    SELECT * FROM unnest(idempotency_orgs, idempotency_keys, idempotency_requests,
                         idempotency_statuses, idempotency_positions, idempotency_ids,
                         idempotency_created_at);
END $$;

-- After a unique_violation: which commands of the batch are known, and which streams, addresses,
-- keys and idempotency keys others have written. Everything else can be sent again at once.
CREATE FUNCTION find_losers(
    command_orgs int[], command_ids bytea[],
    version_orgs int[], version_streams text[], version_expected int[],
    address_orgs int[], address_keys bytea[],
    idempotency_orgs int[], idempotency_keys bytea[]
) RETURNS TABLE (what text, ordinal bigint, "position" bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    SELECT 'command', c.ordinal, known.position
      FROM unnest(command_orgs, command_ids) WITH ORDINALITY AS c(org, id, ordinal)
      JOIN commands known ON known.org = c.org AND known.id = c.id
    UNION ALL
    SELECT 'version', v.ordinal, NULL
      FROM unnest(version_orgs, version_streams, version_expected) WITH ORDINALITY
           AS v(org, stream, expected, ordinal)
     WHERE EXISTS (SELECT FROM events e WHERE e.org = v.org AND e.stream = v.stream
                                          AND e.version = v.expected + 1)
    UNION ALL
    SELECT 'address', a.ordinal, NULL
      FROM unnest(address_orgs, address_keys) WITH ORDINALITY AS a(org, key, ordinal)
      JOIN addresses known ON known.org = a.org AND known.key = a.key
    UNION ALL
    SELECT 'idempotency', i.ordinal, NULL
      FROM unnest(idempotency_orgs, idempotency_keys) WITH ORDINALITY AS i(org, key, ordinal)
      JOIN idempotency_keys known ON known.org = i.org AND known.key = i.key
$$;

-- A new organisation's counter; its first link is 32 zero bytes.
CREATE FUNCTION open_head(new_org int, new_partition int) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    INSERT INTO heads (org, partition, position, hash, recorded_at)
    VALUES (new_org, new_partition, 0, decode(repeat('00', 32), 'hex'), 'epoch')
    ON CONFLICT (org) DO NOTHING;
$$;

-- Idempotency keys live for 24 hours, keys of unattributed deliveries for 30 days (E4).
CREATE FUNCTION purge_expired(moment timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = trunkline, pg_temp AS $$
    DELETE FROM idempotency_keys WHERE created_at < moment - interval '24 hours';
    DELETE FROM keys WHERE expires_at < moment;
$$;
