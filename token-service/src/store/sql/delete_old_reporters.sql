-- Verifiers that accept nothing any more.
DELETE FROM reporter WHERE trusted_until <= (SELECT clock_timestamp()) RETURNING id;
