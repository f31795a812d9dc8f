-- An operator wants the next key to sign as soon as it may.
-- $1 purpose
UPDATE signing_key SET asked_at = clock_timestamp() WHERE purpose = $1 AND signs_from IS NULL RETURNING kid;
