-- The race (S3) in one statement and one round trip (S4): lock by id, then the clock, then the decision by the locked copy alone,
-- then the move, by id; the event of what was really moved. Returns the row as it is then.
-- Grace runs from the rotation, or from the end of an outage that it lies in or shortly before (T5).
-- $1 session  $2 generation  $3 jti  $4 successor's jti  $5 deadline  $6 access lifetime (microseconds)
-- $7 access key  $8 refresh key  $9 event id  $10 event  $11 call (NULL: not told)
WITH locked AS MATERIALIZED (
    SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires,
           access_until, access_roles, amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation, events,
           rotated_by, cookies, seen_generation
    FROM session WHERE id = $1 FOR NO KEY UPDATE
), found AS MATERIALIZED (
    SELECT locked.*, clock_timestamp() AS now FROM locked
), moved AS (
    UPDATE session AS s
    SET generation = f.generation + 1,
        previous_jti = f.jti,
        jti = $4,
        rotated_at = f.now,
        rotated_by = cast($11 AS uuid),
        access_kid = $7,
        refresh_kid = $8,
        access_at = date_trunc('second', f.now),
        access_expires = least(date_trunc('second', f.now) + $6 * interval '1 microsecond', f.ends_at),
        access_until = greatest(f.access_until, least(date_trunc('second', f.now) + $6 * interval '1 microsecond', f.ends_at)),
        access_roles = f.roles,
        events = f.events + 1
    FROM found AS f
    WHERE s.id = $1 AND f.generation = $2 AND f.jti = $3 AND f.ended_at IS NULL AND f.ends_at > f.now AND f.now <= $5
    RETURNING s.subject, s.generation, s.jti, s.previous_jti, s.rotated_at, s.access_kid, s.refresh_kid, s.access_at, s.access_expires,
              s.access_roles, s.events, s.rotated_by
), event AS (
    INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
    SELECT 'audit', $9, subject, $1, events, $10, rotated_at FROM moved
)
SELECT f.id, f.subject, f.user_id, coalesce(m.generation, f.generation) AS generation, coalesce(m.jti, f.jti) AS jti,
       coalesce(m.previous_jti, f.previous_jti) AS previous_jti, coalesce(m.rotated_at, f.rotated_at) AS rotated_at, f.roles,
       coalesce(m.access_kid, f.access_kid) AS access_kid, coalesce(m.refresh_kid, f.refresh_kid) AS refresh_kid,
       coalesce(m.access_at, f.access_at) AS access_at, coalesce(m.access_expires, f.access_expires) AS access_expires,
       coalesce(m.access_roles, f.access_roles) AS access_roles, f.amr, f.acr, f.auth_time, f.created_at, f.ends_at, f.ended_at, f.end_reason,
       f.refused_generation, coalesce(m.rotated_by, f.rotated_by) AS rotated_by, f.cookies, f.seen_generation,
       m.generation IS NOT NULL AS moved, f.now,
       CASE WHEN m.generation IS NOT NULL THEN m.rotated_at
            WHEN f.now > later(beaten_at, 5000000) AND f.rotated_at >= later(beaten_at, -5000000) THEN f.now
            WHEN f.rotated_at >= later(outage_began, -5000000) AND f.rotated_at <= outage_ended THEN outage_ended
            ELSE f.rotated_at END AS grace_from
FROM found AS f CROSS JOIN pulse LEFT JOIN moved AS m ON true
WHERE pulse.one = 1;
