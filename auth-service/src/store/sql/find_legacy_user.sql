-- What was last read of a row, and the user it became.
-- $1 source  $2 legacy id
SELECT l.legacy_id, l.id, l.username AS last_username, l.email AS last_email, l.full_name AS last_full_name, l.hash_digest,
       l.active AS last_active, l.roles AS last_roles, l.admin, l.last_login_at,
       u.user_id, u.username, u.email, u.full_name, u.active, u.active_set_here, u.roles, u.version, u.min_version, u.excepted_session,
       u.end_reason, u.password_set_here
FROM legacy_user l JOIN users u ON u.id = l.id
WHERE l.source = $1 AND l.legacy_id = $2;
