-- $1 name
INSERT INTO milestone (name, reached_at) VALUES ($1, clock_timestamp()) ON CONFLICT (name) DO NOTHING;
