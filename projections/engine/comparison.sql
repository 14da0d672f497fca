-- hold --
-- Runners pass over the organisation in both builds until it is let go.
SELECT pg_advisory_lock(hashtext(schema), %(org)s) FROM unnest(%(schemas)s::text[]) schema

-- let_go --
SELECT pg_advisory_unlock(hashtext(schema), %(org)s) FROM unnest(%(schemas)s::text[]) schema

-- orgs --
SELECT org FROM trunkline.heads WHERE position > 0 ORDER BY org
