-- $1 id  $2 SHA-256
SELECT id FROM one_time_password WHERE id = $1 AND digest = $2 AND expires_at > clock_timestamp();
