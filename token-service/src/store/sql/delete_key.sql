-- $1 kid
DELETE FROM signing_key WHERE kid = $1 RETURNING kid;
