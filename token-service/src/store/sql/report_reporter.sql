-- Up to when a verifier has told what it saw, and until when it may accept tokens without a word from here (S12).
-- $1 verifier  $2 up to when (the beginning of time: not all of it)  $3 how long it trusts what it knows (microseconds)
INSERT INTO reporter (id, told_until, trusted_until)
SELECT $1, CASE WHEN $2 < now THEN $2 ELSE now END, later(now, $3) FROM (SELECT clock_timestamp() AS now) AS clock
WHERE true
ON CONFLICT (id) DO UPDATE
SET told_until = CASE WHEN excluded.told_until > reporter.told_until THEN excluded.told_until ELSE reporter.told_until END,
    trusted_until = excluded.trusted_until;
