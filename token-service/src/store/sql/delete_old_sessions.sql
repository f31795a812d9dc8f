-- A row stays until an hour past its end, so that its tokens get the right answer (S3).
-- $1 how long past (microseconds)  $2 at most
DELETE FROM session WHERE id IN (
    SELECT id FROM session WHERE ends_at <= (SELECT later(clock_timestamp(), -$1)) AND ended_at IS NOT NULL ORDER BY ends_at LIMIT $2
) RETURNING id;
