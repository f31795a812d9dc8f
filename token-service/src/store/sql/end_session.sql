-- Ends one session that is not ended; where $3, only one past its end (S5). One past its end that was not swept yet is ended
-- by others too: a clock that steps back must not revive it (T1).
-- $1 session  $2 reason  $3 whether it must be past its end
UPDATE session SET ended_at = clock_timestamp(), end_reason = $2, events = events + 1
WHERE id = $1 AND ended_at IS NULL AND (NOT $3 OR ends_at <= clock_timestamp())
RETURNING id, subject, events, access_until, ended_at, ends_at, generation, jti;
