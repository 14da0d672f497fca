-- The one way into the log. One call is one batch of whole commands, in one transaction.
SET LOCAL lock_timeout = '4s';

-- When an organisation has moved on since the caller looked, nothing is written and the error is
-- TL001. The heads that a caller names prove that every version it knows is still the newest; of
-- versions that it was told and does not know (`seen`), a stale one is TL002. A known command, or
-- an address, key or request that somebody else wrote first, ends in unique_violation.
-- A generic plan: to plan these statements anew takes longer than to run them.
CREATE FUNCTION append_batch(
    head_orgs int[], head_positions bigint[], head_hashes bytea[],
    next_positions bigint[], next_hashes bytea[], next_recorded_at timestamptz[],
    event_orgs int[], event_positions bigint[], event_streams text[], event_versions int[],
    event_types text[], event_schemas int[], event_recorded_at timestamptz[],
    event_commands bytea[], event_data bytea[], event_hashes bytea[],
    command_orgs int[], command_ids bytea[], command_positions bigint[],
    seen_orgs int[], seen_streams text[], seen_versions int[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = trunkline, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    fitting bigint;
BEGIN
    -- First of all, and in the order of the orgs: two batches never wait for each other crosswise.
    IF cardinality(head_orgs) > 1 THEN
        PERFORM FROM heads h WHERE h.org = ANY (head_orgs) ORDER BY h.org FOR UPDATE;
    END IF;
    UPDATE heads h SET position = n.position, hash = n.hash, recorded_at = n.recorded_at
      FROM unnest(head_orgs, head_positions, head_hashes,
                  next_positions, next_hashes, next_recorded_at)
           AS n(org, position_before, hash_before, position, hash, recorded_at)
     WHERE h.org = n.org AND h.position = n.position_before AND h.hash = n.hash_before;
    GET DIAGNOSTICS fitting = ROW_COUNT;
    IF fitting <> cardinality(head_orgs) THEN
        RAISE EXCEPTION 'an organisation has moved on' USING ERRCODE = 'TL001';
    END IF;
    IF cardinality(seen_orgs) > 0 AND EXISTS (
        SELECT FROM unnest(seen_orgs, seen_streams, seen_versions) AS s(org, stream, version)
         WHERE s.version <> (SELECT coalesce(max(e.version), 0) FROM events e
                              WHERE e.org = s.org AND e.stream = s.stream)
    ) THEN
        RAISE EXCEPTION 'a stream has moved on' USING ERRCODE = 'TL002';
    END IF;
    INSERT INTO commands (org, id, position)
    SELECT * FROM unnest(command_orgs, command_ids, command_positions);
    INSERT INTO events (org, position, stream, version, type, schema_version, recorded_at,
                        command, data, hash)
    SELECT * FROM unnest(event_orgs, event_positions, event_streams, event_versions, event_types,
                         event_schemas, event_recorded_at, event_commands, event_data,
                         event_hashes);
END $$;

-- What else commands write in the log's transaction; most batches need none of it.
CREATE FUNCTION append_companions(
    key_orgs int[], key_ids text[], key_wrapped bytea[], key_expires_at timestamptz[],
    dropped_orgs int[], dropped_keys bytea[],
    address_orgs int[], address_keys bytea[], address_contacts text[],
    request_orgs int[], request_keys bytea[], request_bodies bytea[],
    request_statuses int[], request_positions bigint[], request_ids bytea[],
    request_created_at timestamptz[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = trunkline, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO keys (org, id, wrapped, expires_at)
    SELECT * FROM unnest(key_orgs, key_ids, key_wrapped, key_expires_at);
    DELETE FROM addresses a USING unnest(dropped_orgs, dropped_keys) AS d(org, key)
     WHERE a.org = d.org AND a.key = d.key;
    INSERT INTO addresses (org, key, contact)
    SELECT * FROM unnest(address_orgs, address_keys, address_contacts);
    INSERT INTO idempotency_keys (org, key, request, status, position, ids, created_at)
    SELECT * FROM unnest(request_orgs, request_keys, request_bodies, request_statuses,
                         request_positions, request_ids, request_created_at);
END $$;

-- Where organisations stand, and which streams have grown since the positions that the caller
-- knows: a row per stream, or one without a stream. No streams where nothing was known (NULL) or
-- where it would be more than `events_max` events ago.
CREATE FUNCTION read_changes(orgs int[], known bigint[], events_max int)
RETURNS TABLE (org int, "position" bigint, hash bytea, recorded_at bigint, stream text, version int)
LANGUAGE sql STABLE SET search_path = trunkline, pg_temp AS $$
    SELECT h.org, h.position, h.hash, (extract(epoch FROM h.recorded_at) * 1000000)::bigint,
           changed.stream, changed.version
      FROM unnest(orgs, known) AS k(org, position)
      JOIN heads h ON h.org = k.org
      LEFT JOIN LATERAL (
        SELECT e.stream, max(e.version) AS version
          FROM events e
         WHERE e.org = k.org AND e.position > k.position AND h.position - k.position <= events_max
         GROUP BY e.stream
      ) AS changed ON true
$$;

-- The same, and nobody else writes to these organisations until the transaction ends. It waits for
-- a transaction whose answer was lost; and since the lock itself is committed like any change, what
-- is found under it is as safe as what is written.
CREATE FUNCTION lock_heads(orgs int[], known bigint[], events_max int)
RETURNS TABLE (org int, "position" bigint, hash bytea, recorded_at bigint, stream text, version int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = trunkline, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM FROM heads h WHERE h.org = ANY (orgs) ORDER BY h.org FOR UPDATE;
    RETURN QUERY SELECT * FROM read_changes(orgs, known, events_max);
END $$;

-- Under that lock: which commands, requests, addresses and keys are known (`number` is the
-- command's position), and the newest versions of streams.
CREATE FUNCTION find_known(
    command_orgs int[], command_ids bytea[], request_orgs int[], request_keys bytea[],
    address_orgs int[], address_keys bytea[], key_orgs int[], key_ids text[],
    stream_orgs int[], streams text[]
) RETURNS TABLE (what text, ordinal bigint, number bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = trunkline, pg_temp SET plan_cache_mode = force_generic_plan AS $$
    SELECT 'command', c.ordinal, known.position
      FROM unnest(command_orgs, command_ids) WITH ORDINALITY AS c(org, id, ordinal)
      JOIN commands known ON known.org = c.org AND known.id = c.id
    UNION ALL
    SELECT 'request', r.ordinal, 0
      FROM unnest(request_orgs, request_keys) WITH ORDINALITY AS r(org, key, ordinal)
      JOIN idempotency_keys known ON known.org = r.org AND known.key = r.key
    UNION ALL
    SELECT 'address', a.ordinal, 0
      FROM unnest(address_orgs, address_keys) WITH ORDINALITY AS a(org, key, ordinal)
      JOIN addresses known ON known.org = a.org AND known.key = a.key
    UNION ALL
    SELECT 'key', k.ordinal, 0
      FROM unnest(key_orgs, key_ids) WITH ORDINALITY AS k(org, id, ordinal)
      JOIN keys known ON known.org = k.org AND known.id = k.id
    UNION ALL
    SELECT 'version', s.ordinal, (SELECT coalesce(max(e.version), 0) FROM events e
                                   WHERE e.org = s.org AND e.stream = s.stream)
      FROM unnest(stream_orgs, streams) WITH ORDINALITY AS s(org, stream, ordinal)
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
