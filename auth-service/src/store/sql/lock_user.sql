-- As it is, for a change in the same transaction.
-- $1 id
SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
       password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source,
       clock_timestamp() AS now
FROM users WHERE id = $1;
