-- $1 assertion
SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation,
       clock_timestamp() AS now
FROM session WHERE assertion_id = $1;
