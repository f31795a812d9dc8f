-- $1 kid  $2 sealed
UPDATE signing_key SET sealed = $2 WHERE kid = $1 RETURNING kid;
