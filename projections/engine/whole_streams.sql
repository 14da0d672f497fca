-- in_order --
-- Nothing may be sorted: of what is to be read first, all would be read.
SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true)

-- read_slice --
-- In the order of the key (org, stream, version). Types that are known and not wanted come without
-- their data, but they come: so a version that is missing is noticed, and a type that is not known.
SELECT position, stream, version, recorded_at, type, schema_version,
       CASE WHEN type <> ALL (%(ignored)s::text[]) THEN data END
  FROM trunkline.events
 WHERE org = %(org)s AND stream >= %(first_stream)s AND stream <= %(last_stream)s
   AND stream > %(reached)s AND position <= %(position)s
 ORDER BY stream, version
 LIMIT %(limit)s

-- read_stream --
SELECT position, stream, version, recorded_at, type, schema_version,
       CASE WHEN type <> ALL (%(ignored)s::text[]) THEN data END
  FROM trunkline.events
 WHERE org = %(org)s AND stream = %(stream)s AND position <= %(position)s
 ORDER BY version

-- next_stream --
SELECT min(stream)
  FROM trunkline.events
 WHERE org = %(org)s AND stream >= %(first_stream)s AND stream <= %(last_stream)s
   AND stream > %(reached)s

-- types --
-- How many events there are of each type, and the first of them, in one scan.
SELECT type, schema_version, count(*), min(position)
  FROM trunkline.events
 WHERE org = %(org)s AND position BETWEEN 1 AND %(position)s
 GROUP BY type, schema_version
