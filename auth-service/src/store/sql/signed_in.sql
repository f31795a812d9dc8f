-- $1 id
UPDATE users SET last_sign_in_at = clock_timestamp() WHERE id = $1;
