-- A row stays until an hour past its end, so that its tokens get the right answer (S3). One that somebody holds waits for the next time.
-- $1 how long past (microseconds)  $2 at most
DELETE FROM session WHERE id IN (
    SELECT id FROM session WHERE ends_at <= (SELECT later(clock_timestamp(), -cast($1 AS bigint))) AND ended_at IS NOT NULL
    ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED
) RETURNING id;
