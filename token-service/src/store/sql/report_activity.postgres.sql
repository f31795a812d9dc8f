-- What a verifier saw of sessions (S12), locked in the order of ids (S11). One that idleness does not end is not written for every minute
-- of use.
-- $1 sessions  $2 the highest generations seen  $3 when they were used (the beginning of time: only in the background)
-- $4 how much later than what is known, where idleness ends nothing (microseconds)
WITH told AS MATERIALIZED (
    SELECT session, generation, at, spare
    FROM unnest(cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS timestamptz[]), cast($4 AS bigint[])) AS w (session, generation, at, spare)
), locked AS MATERIALIZED (
    SELECT s.id, s.active_at, s.created_at, s.seen_generation, s.idle_limit, s.idle_at, t.generation, least(t.at, clock_timestamp()) AS at
    FROM session AS s JOIN told AS t ON t.session = s.id
    WHERE s.generation >= t.generation AND s.ended_at IS NULL
      AND ((s.cookies AND s.seen_generation < t.generation)
           OR t.at > later(coalesce(s.active_at, s.created_at), CASE WHEN s.idle_limit IS NULL THEN t.spare ELSE 0 END))
    ORDER BY s.id FOR NO KEY UPDATE OF s
)
UPDATE session AS s
SET seen_generation = greatest(l.seen_generation, l.generation),
    active_at = CASE WHEN l.at <= coalesce(l.active_at, l.created_at) THEN l.active_at ELSE l.at END,
    idle_at = CASE WHEN l.idle_limit IS NULL OR l.at <= coalesce(l.active_at, l.created_at) THEN l.idle_at ELSE later(l.at, l.idle_limit) END
FROM locked AS l WHERE s.id = l.id;
