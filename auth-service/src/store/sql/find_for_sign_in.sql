-- By name; else by e-mail where exactly one active user has it and nobody's name is the same (C1). One round trip.
-- $1 as typed
SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
       password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
FROM users WHERE username = $1
UNION ALL
SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
       password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
FROM users
WHERE email = $1 AND email <> '' AND active
  AND NOT EXISTS (SELECT 1 FROM users WHERE username = $1)
  AND (SELECT count(*) FROM users WHERE email = $1 AND email <> '' AND active) = 1;
