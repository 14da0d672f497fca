-- in_order --
-- Nothing may be sorted: of what is to be read first, all would be read.
SELECT set_config('enable_sort', %s, true), set_config('jit', 'off', true)

-- read_slice --
-- In the order of the key (org, stream, version).
SELECT position, stream, version, recorded_at, type, schema_version, data
  FROM trunkline.events
 WHERE org = %(org)s AND stream >= %(first_stream)s AND stream <= %(last_stream)s
   AND stream > %(reached)s AND position <= %(position)s
 ORDER BY stream, version
 LIMIT %(limit)s

-- read_stream --
SELECT position, stream, version, recorded_at, type, schema_version, data
  FROM trunkline.events
 WHERE org = %(org)s AND stream = %(stream)s AND position <= %(position)s
 ORDER BY version

-- next_stream --
SELECT min(stream)
  FROM trunkline.events
 WHERE org = %(org)s AND stream >= %(first_stream)s AND stream <= %(last_stream)s
   AND stream > %(reached)s

-- count --
SELECT count(*)
  FROM trunkline.events
 WHERE org = %(org)s AND position BETWEEN 1 AND %(position)s
