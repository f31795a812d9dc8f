-- $1 id
SELECT username, version, min_version, active, roles, password_changed_at, end_reason FROM users WHERE id = $1;
