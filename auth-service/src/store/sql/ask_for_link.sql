-- Counts what was asked for within the hour; no row where that was enough.
-- $1 about whom  $2 the most
INSERT INTO link_request AS r (about, began_at, asked) VALUES ($1, clock_timestamp(), 1)
ON CONFLICT (about) DO UPDATE
SET began_at = CASE WHEN r.began_at > later(clock_timestamp(), -3600000000) THEN r.began_at ELSE clock_timestamp() END,
    asked = CASE WHEN r.began_at > later(clock_timestamp(), -3600000000) THEN r.asked + 1 ELSE 1 END
WHERE r.asked < $2 OR r.began_at <= later(clock_timestamp(), -3600000000)
RETURNING asked;
