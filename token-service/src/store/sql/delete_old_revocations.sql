-- $1 at most
DELETE FROM revocation WHERE number IN (
    SELECT number FROM revocation WHERE until <= (SELECT clock_timestamp()) ORDER BY until LIMIT $1
) RETURNING number;
