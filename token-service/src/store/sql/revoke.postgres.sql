-- Numbers and stores revocations, last in their transaction, so that numbers are without gaps in commit order (V1). One that names no
-- token is kept all the same, until every verifier has heard its number.
-- $1 sessions  $2 generations (NULL: all)  $3 ends of the last tokens they name  $4 how long past that they are kept (microseconds)
WITH taken AS (
    UPDATE revocation_head SET number = number + cardinality(cast($1 AS uuid[])) WHERE one = 1
    RETURNING number - cardinality(cast($1 AS uuid[])) AS before, clock_timestamp() AS now
)
INSERT INTO revocation (number, session, generation, until, revoked_at)
SELECT t.before + w.place, w.session, w.generation, later(greatest(w.until, t.now), w.keep), t.now
FROM taken AS t
CROSS JOIN unnest(cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS timestamptz[]), cast($4 AS bigint[]))
           WITH ORDINALITY AS w (session, generation, until, keep, place)
RETURNING number;
