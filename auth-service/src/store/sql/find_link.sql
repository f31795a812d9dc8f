-- Whose link that is, if it is still good.
-- $1 SHA-256
SELECT id, purpose FROM one_time_link WHERE digest = $1 AND expires_at > clock_timestamp();
