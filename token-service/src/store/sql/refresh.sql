-- The race (S3): rotates where the token is current and the row live, writes the event of what was moved, returns the row.
-- Budget: one round trip. Grace runs from the rotation, or from the end of an outage that it lies in or shortly before (T5).
-- $1 session  $2 generation  $3 jti  $4 successor's jti  $5 deadline  $6 access lifetime (microseconds)
-- $7 access key  $8 refresh key  $9 event id  $10 event  $11 call (NULL: not told)
UPDATE session
SET generation = generation + 1,
    previous_jti = jti,
    jti = $4,
    rotated_at = clock_timestamp(),
    rotated_by = $11,
    access_kid = $7,
    refresh_kid = $8,
    access_at = clock_timestamp() - clock_timestamp() % 1000000,
    access_expires = min(later(clock_timestamp() - clock_timestamp() % 1000000, $6), ends_at),
    access_until = max(access_until, min(later(clock_timestamp() - clock_timestamp() % 1000000, $6), ends_at)),
    access_roles = roles,
    events = events + 1
WHERE id = $1 AND generation = $2 AND jti = $3 AND ended_at IS NULL AND ends_at > clock_timestamp() AND clock_timestamp() <= $5;

INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
SELECT 'audit', $9, subject, id, events, $10, rotated_at FROM session WHERE id = $1 AND jti = $4;

SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation,
       jti = $4 AS moved, clock_timestamp() AS now,
       CASE WHEN clock_timestamp() > later(beaten_at, 5000000) AND rotated_at >= later(beaten_at, -5000000) THEN clock_timestamp()
            WHEN rotated_at >= later(outage_began, -5000000) AND rotated_at <= outage_ended THEN outage_ended
            ELSE rotated_at END AS grace_from
FROM session CROSS JOIN pulse WHERE id = $1 AND one = 1;
