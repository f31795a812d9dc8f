-- Takes or renews a lease: free, ours, run out, or absurdly far ahead (a clock that was wrong). The clock is read in SET, under the lock.
-- $1 name  $2 holder  $3 time to live (microseconds)
INSERT INTO lease (name, holder, epoch, until) VALUES ($1, $2, 1, later(clock_timestamp(), $3))
ON CONFLICT (name) DO UPDATE
SET epoch = CASE WHEN lease.holder = excluded.holder AND lease.until > clock_timestamp() THEN lease.epoch ELSE lease.epoch + 1 END,
    holder = excluded.holder,
    until = later(clock_timestamp(), $3)
WHERE lease.holder = excluded.holder OR lease.until <= clock_timestamp() OR lease.until > later(clock_timestamp(), 4 * cast($3 AS bigint))
RETURNING epoch;
