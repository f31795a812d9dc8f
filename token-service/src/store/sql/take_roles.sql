-- From the next pair on; where a role was lost, access tokens up to this generation are refused (U2).
-- $1 session  $2 roles  $3 whether a role was lost
UPDATE session
SET roles = $2, refused_generation = CASE WHEN $3 THEN generation ELSE refused_generation END
WHERE id = $1
RETURNING id, access_until, generation, $3 AS lost;
