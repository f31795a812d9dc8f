-- From the next pair on; where a role was lost, access tokens up to this generation are refused (U2). The rows are locked by now.
-- $1 sessions  $2 roles  $3 whether a role was lost
UPDATE session AS s
SET roles = w.roles, refused_generation = CASE WHEN w.lost THEN s.generation ELSE s.refused_generation END
FROM unnest(cast($1 AS uuid[]), cast($2 AS text[]), cast($3 AS boolean[])) AS w (id, roles, lost)
WHERE s.id = w.id
RETURNING s.id, s.access_until, s.generation, w.lost;
