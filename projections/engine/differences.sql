-- tables --
-- Every table of a build: its columns with their types, and those of its key.
SELECT c.relname,
       (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       coalesce((SELECT array_agg(a.attname::text ORDER BY k.place)
                   FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                   JOIN pg_attribute a ON a.attnum = k.number
                  WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = i.indrelid), '{}'),
       coalesce((SELECT array_agg(a.attname::text) FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.atttypid = 'bytea'::regtype), '{}')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p')
 ORDER BY c.relname

-- digest --
-- The same rows give the same sum, in whatever order they lie.
SELECT count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)), 0)::text
  FROM {table}
 WHERE org = %(org)s

-- differing --
-- The keys that are in one of them only, or have other values there; how many there are of them.
SELECT ARRAY[{shown}]::text[], ARRAY[{named}]::text[], l.org IS NOT NULL, o.org IS NOT NULL,
       array_remove(ARRAY[{columns}]::text[], NULL), count(*) OVER ()
  FROM (SELECT * FROM {live} WHERE org = %(org)s) l
  FULL JOIN (SELECT * FROM {other} WHERE org = %(org)s) o ON {same_key}
 WHERE l.org IS NULL OR o.org IS NULL OR cardinality(array_remove(ARRAY[{columns}]::text[], NULL)) > 0
 ORDER BY 1
 LIMIT %(limit)s

-- explaining --
-- The newest events of these streams.
SELECT stream, position, type
  FROM trunkline.events
 WHERE org = %(org)s AND stream = ANY (%(streams)s::text[]) AND position <= %(position)s
 ORDER BY position DESC
 LIMIT %(limit)s
