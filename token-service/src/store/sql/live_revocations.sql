-- What a verifier must know to begin with; `head` is read in the same statement.
SELECT head.number AS head, clock_timestamp() AS now, r.number AS number, r.session AS session, r.generation AS generation, r.until AS until
FROM revocation_head AS head LEFT JOIN revocation AS r ON r.until > (SELECT clock_timestamp())
WHERE head.one = 1 ORDER BY r.number;
