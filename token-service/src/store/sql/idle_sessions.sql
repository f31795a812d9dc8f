-- Sessions that nobody has used for too long (S12). None, unless every verifier that may accept tokens has told what it saw lately, and
-- there is one.
-- $1 at most  $2 how long past their idle ends  $3 how long ago is lately (microseconds)
SELECT id FROM session
WHERE idle_at <= (SELECT later(clock_timestamp(), -cast($2 AS bigint))) AND ended_at IS NULL
  AND EXISTS (SELECT 1 FROM reporter WHERE trusted_until > clock_timestamp())
  AND NOT EXISTS (SELECT 1 FROM reporter WHERE trusted_until > clock_timestamp() AND told_until < later(clock_timestamp(), -cast($3 AS bigint)))
ORDER BY idle_at LIMIT $1;
