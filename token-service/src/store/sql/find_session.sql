-- Grace runs from the rotation, or from the end of an outage that it lies in or shortly before (T5).
-- $1 session
SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation,
       clock_timestamp() AS now,
       CASE WHEN clock_timestamp() > later(beaten_at, 5000000) AND rotated_at >= later(beaten_at, -5000000) THEN clock_timestamp()
            WHEN rotated_at >= later(outage_began, -5000000) AND rotated_at <= outage_ended THEN outage_ended
            ELSE rotated_at END AS grace_from
FROM session CROSS JOIN pulse WHERE id = $1 AND one = 1;
