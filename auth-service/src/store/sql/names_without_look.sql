-- Names that have not been looked at, because an older version wrote them.
-- $1 at most
SELECT id, username FROM users WHERE look IS NULL ORDER BY id LIMIT $1;
