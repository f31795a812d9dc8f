-- The link takes the place of the one before.
-- $1 id  $2 SHA-256  $3 purpose  $4 expires
INSERT INTO one_time_link (id, digest, purpose, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, purpose = excluded.purpose, expires_at = excluded.expires_at;
