-- Numbers and stores a revocation, last in its transaction, so that numbers are without gaps in commit order (V1). One that names no
-- token is kept all the same, until every verifier has heard its number.
-- $1 session  $2 generation (NULL: all)  $3 end of the last token it names  $4 how long past that it is kept (microseconds)
UPDATE revocation_head SET number = number + 1 WHERE one = 1;

INSERT INTO revocation (number, session, generation, until, revoked_at)
SELECT number, $1, $2, later(CASE WHEN $3 > clock_timestamp() THEN $3 ELSE clock_timestamp() END, $4), clock_timestamp()
FROM revocation_head WHERE one = 1
RETURNING number;
