-- $1 id  $2 SHA-256  $3 expires
INSERT INTO one_time_password (id, digest, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at;
