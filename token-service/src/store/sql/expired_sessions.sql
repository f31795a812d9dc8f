-- $1 at most
SELECT id FROM session WHERE ends_at <= (SELECT clock_timestamp()) AND ended_at IS NULL ORDER BY ends_at LIMIT $1;
