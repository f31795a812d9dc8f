-- $1 number  $2 at most
SELECT number, session, generation, until FROM revocation WHERE number > $1 ORDER BY number LIMIT $2;
