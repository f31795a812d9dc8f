-- $1 number  $2 at most
SELECT number, session, generation, until, revoked_at, clock_timestamp() AS now FROM revocation WHERE number > $1 ORDER BY number LIMIT $2;
