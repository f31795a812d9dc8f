-- $1 at most
SELECT id FROM session WHERE ended_at IS NULL ORDER BY ends_at LIMIT $1;
