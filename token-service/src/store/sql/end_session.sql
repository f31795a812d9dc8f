-- Ends one session that is not ended: one past its end where $3, else only one before it (S5).
-- $1 session  $2 reason  $3 whether past its end
UPDATE session SET ended_at = clock_timestamp(), end_reason = $2, events = events + 1
WHERE id = $1 AND ended_at IS NULL AND (ends_at <= clock_timestamp()) = $3
RETURNING id, subject, events, access_expires, ended_at, generation, jti;
