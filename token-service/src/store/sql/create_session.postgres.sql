-- Begins a session, with its first event; one row an assertion (S10). The subject was locked by the statement before.
-- $1 id  $2 subject  $3 user_id  $4 subject's version  $5 assertion  $6 jti  $7 roles  $8 access key  $9 refresh key
-- $10 access lifetime  $11 amr  $12 acr  $13 auth_time  $14 lifetime (microseconds)  $15 event id  $16 event
-- $17 whether in cookies  $18 idle limit (microseconds; NULL: none)  $19 device  $20 network
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), created AS (
    INSERT INTO session (id, subject, user_id, subject_version, assertion_id, generation, jti, rotated_at, roles,
                         access_kid, refresh_kid, access_at, access_expires, access_until, access_roles,
                         amr, acr, auth_time, created_at, ends_at, events, cookies, active_at, idle_limit, idle_at, device, network)
    SELECT $1, $2, $3, $4, $5, 0, $6, now, $7,
           $8, $9, date_trunc('second', now), later(date_trunc('second', now), least(cast($10 AS bigint), cast($14 AS bigint))),
           later(date_trunc('second', now), least(cast($10 AS bigint), cast($14 AS bigint))), $7, $11, $12, $13, now, later(now, cast($14 AS bigint)), 1,
           $17, now, cast($18 AS bigint), CASE WHEN cast($18 AS bigint) IS NOT NULL THEN later(now, cast($18 AS bigint)) END, $19, $20
    FROM clock
    ON CONFLICT (assertion_id) DO NOTHING
    RETURNING *
), event AS (
    INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
    SELECT 'audit', $15, subject, id, events, $16, created_at FROM created
)
SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation
FROM created;
