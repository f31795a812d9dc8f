-- Tells whether the key is new.
-- $1 kid
INSERT INTO known_key (kid, created_at) VALUES ($1, clock_timestamp()) ON CONFLICT (kid) DO NOTHING RETURNING kid;
