-- Ends one session that is not ended; where $3, only one past its end, where $4, only one idle for too long (S5, S12). One past its end
-- that was not swept yet is ended by others too: a clock that steps back must not revive it (T1).
-- $1 session  $2 reason  $3 whether it must be past its end  $4 whether it must be idle  $5 the call that ends it (NULL: not told)
-- $6 how long past its idle end (microseconds)
UPDATE session SET ended_at = clock_timestamp(), end_reason = $2, events = events + 1, ended_by = $5
WHERE id = $1 AND ended_at IS NULL AND (NOT $3 OR ends_at <= clock_timestamp()) AND (NOT $4 OR idle_at <= later(clock_timestamp(), -$6))
RETURNING id, subject, events, access_until, ended_at, ends_at, generation, jti;
