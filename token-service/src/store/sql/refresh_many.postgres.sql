-- Refreshes of several sessions that came at once (S3): what refresh.postgres.sql does for one, for each of them, in one statement and one
-- commit. It waits for nobody: a row that somebody else holds is left out, and asked for alone.
-- $1 sessions  $2 generations  $3 jtis  $4 successors' jtis  $5 deadlines  $6 access lifetimes (microseconds)
-- $7 access keys  $8 refresh keys  $9 event ids  $10 events  $11 calls (NULL: not told)
WITH wanted AS MATERIALIZED (
    SELECT session, generation, jti, next, deadline, lifetime, access_kid, refresh_kid, event_id, body, called
    FROM unnest(cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS bytea[]), cast($4 AS bytea[]), cast($5 AS timestamptz[]),
                cast($6 AS bigint[]), cast($7 AS text[]), cast($8 AS text[]), cast($9 AS uuid[]), cast($10 AS bytea[]),
                cast($11 AS uuid[]))
         AS w (session, generation, jti, next, deadline, lifetime, access_kid, refresh_kid, event_id, body, called)
), locked AS MATERIALIZED (
    SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires,
           access_until, access_roles, amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation, events,
           rotated_by, cookies, seen_generation
    FROM session WHERE id IN (SELECT unnest(cast($1 AS uuid[]))) FOR NO KEY UPDATE SKIP LOCKED
), found AS MATERIALIZED (
    SELECT locked.*, clock_timestamp() AS now FROM locked
), moved AS (
    UPDATE session AS s
    SET generation = f.generation + 1,
        previous_jti = f.jti,
        jti = w.next,
        rotated_at = f.now,
        rotated_by = w.called,
        access_kid = w.access_kid,
        refresh_kid = w.refresh_kid,
        access_at = date_trunc('second', f.now),
        access_expires = least(date_trunc('second', f.now) + w.lifetime * interval '1 microsecond', f.ends_at),
        access_until = greatest(f.access_until, least(date_trunc('second', f.now) + w.lifetime * interval '1 microsecond', f.ends_at)),
        access_roles = f.roles,
        events = f.events + 1
    FROM found AS f JOIN wanted AS w ON w.session = f.id
    WHERE s.id = f.id AND f.generation = w.generation AND f.jti = w.jti AND f.ended_at IS NULL AND f.ends_at > f.now AND f.now <= w.deadline
    RETURNING s.id, s.subject, s.generation, s.jti, s.previous_jti, s.rotated_at, s.access_kid, s.refresh_kid, s.access_at, s.access_expires,
              s.access_roles, s.events, s.rotated_by, w.event_id, w.body
), event AS (
    INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
    SELECT 'audit', event_id, subject, id, events, body, rotated_at FROM moved
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
FROM found AS f CROSS JOIN pulse LEFT JOIN moved AS m ON m.id = f.id
WHERE pulse.one = 1;
