-- The next key signs in the place of the one that signed (K1).
-- $1 purpose
UPDATE signing_key SET retired_at = clock_timestamp() WHERE purpose = $1 AND signs_from IS NOT NULL AND retired_at IS NULL;

UPDATE signing_key SET signs_from = clock_timestamp() WHERE purpose = $1 AND signs_from IS NULL RETURNING kid;
