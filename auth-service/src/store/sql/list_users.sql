-- By name, after the one where the page before ended; the filters narrow.
-- $1 the least name  $2 above every name  $3 a role as JSON, or empty  $4 only disabled  $5 not signed in since, or null  $6 at most
-- $7 id of the last one before, or null
SELECT id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
       password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
FROM users
WHERE username >= $1 AND username < $2
  AND ($3 = '' OR replace(roles, $3, '') <> roles)
  AND (active = false OR NOT $4)
  AND (last_sign_in_at IS NULL OR last_sign_in_at < coalesce($5, later(last_sign_in_at, 1)))
  AND username > coalesce((SELECT username FROM users WHERE id = $7), '')
ORDER BY username LIMIT $6;
