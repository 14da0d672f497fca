-- builds --
-- How far every build is. Only for orgs that are behind is an event looked up.
SELECT b.projection, b.version, b.build, b.state, b.started_at, b.ready_at, b.live_at,
       count(o.org) AS orgs,
       -- Checkpoints tell nothing of bare tables, which are filled in another order.
       CASE WHEN b.complete THEN coalesce(sum(o.behind), 0)::bigint
            ELSE (SELECT coalesce(sum(greatest(p.events - p.events_done, 0)), 0)::bigint
                    FROM trunkline.pieces p
                   WHERE p.projection = b.projection AND p.version = b.version
                     AND p.build = b.build)
        END AS events_behind,
       coalesce(max(o.seconds), 0)::float AS seconds_behind,
       -- Not where another process, of newer code perhaps, took the event after all.
       (SELECT count(*) FROM trunkline.parked p
          LEFT JOIN trunkline.checkpoints c USING (projection, version, build, org)
         WHERE p.projection = b.projection AND p.version = b.version AND p.build = b.build
           AND p.position > coalesce(c.position, 0))
           AS parked
  FROM trunkline.builds b
  LEFT JOIN LATERAL (
       SELECT h.org, h.position - coalesce(c.position, 0) AS behind,
              CASE WHEN h.position > coalesce(c.position, 0) THEN
                  -- The first that is there: the very next may be missing.
                  (SELECT greatest(extract(epoch FROM now() - e.recorded_at), 0)
                     FROM trunkline.events e
                    WHERE e.org = h.org AND e.position > coalesce(c.position, 0)
                    ORDER BY e.position
                    LIMIT 1)
              END AS seconds
         FROM trunkline.heads h
         LEFT JOIN trunkline.checkpoints c
           ON c.projection = b.projection AND c.version = b.version AND c.build = b.build
          AND c.org = h.org
        WHERE h.position > 0) o ON true
 WHERE b.family = ANY (%(families)s::text[])
 GROUP BY b.projection, b.version, b.build
 ORDER BY b.projection, b.version, b.build

-- parked --
SELECT p.projection, p.version, p.build, coalesce(o.id, p.org::text) AS organisation, p.position,
       p.error, p.since
  FROM trunkline.parked p
  LEFT JOIN trunkline.organisations o ON o.org = p.org
  LEFT JOIN trunkline.checkpoints c
    ON c.projection = p.projection AND c.version = p.version AND c.build = p.build
   AND c.org = p.org
 WHERE p.projection || '_' || p.version = ANY (%(families)s::text[])
   AND p.position > coalesce(c.position, 0)
 ORDER BY p.since
 LIMIT %(limit)s
