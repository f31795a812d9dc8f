-- What a verifier saw of a session (S12). One that idleness does not end is not written for every minute of use.
-- $1 session  $2 the highest generation seen  $3 when it was used (the beginning of time: only in the background)
-- $4 how much later than what is known, where idleness ends nothing (microseconds)
UPDATE session
SET seen_generation = max(seen_generation, $2),
    active_at = CASE WHEN $3 <= coalesce(active_at, created_at) THEN active_at ELSE min($3, clock_timestamp()) END,
    idle_at = CASE WHEN $3 <= coalesce(active_at, created_at) THEN idle_at ELSE later(min($3, clock_timestamp()), idle_limit) END
WHERE id = $1 AND generation >= $2 AND ended_at IS NULL
  AND ((cookies AND seen_generation < $2)
       OR $3 > later(coalesce(active_at, created_at), CASE WHEN idle_limit IS NULL THEN $4 ELSE 0 END));
