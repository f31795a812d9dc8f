-- What is accepted until when is fixed at the first import (L3); the key may come later or change.
-- $1 name  $2 algorithm  $3 sealed key  $4 longest age (microseconds)  $5 end for all (NULL: none)
INSERT INTO source (name, algorithm, sealed_key, first_import_at, imported_at, accepted_until)
SELECT $1, $2, $3, now, now, CASE WHEN $5 IS NULL OR later(now, $4) < $5 THEN later(now, $4) ELSE $5 END FROM (SELECT clock_timestamp() AS now LIMIT 1) AS clock
WHERE true
ON CONFLICT (name) DO UPDATE
SET algorithm = CASE WHEN excluded.sealed_key IS NULL THEN source.algorithm ELSE excluded.algorithm END,
    sealed_key = coalesce(excluded.sealed_key, source.sealed_key),
    imported_at = excluded.imported_at
RETURNING accepted_until;
