-- Takes or renews a lease: free, ours, run out, or absurdly far ahead (a clock that was wrong).
-- $1 name  $2 holder  $3 time to live (microseconds)
INSERT INTO lease (name, holder, epoch, until) VALUES ($1, $2, 0, 0) ON CONFLICT (name) DO NOTHING;
UPDATE lease
SET epoch = CASE WHEN holder = $2 AND until > clock_timestamp() THEN epoch ELSE epoch + 1 END,
    holder = $2,
    until = clock_timestamp() + $3
WHERE name = $1 AND (holder = $2 OR until <= clock_timestamp() OR until > clock_timestamp() + 4 * $3)
RETURNING epoch;
