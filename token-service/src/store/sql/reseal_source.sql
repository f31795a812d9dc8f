-- $1 name  $2 sealed key
UPDATE source SET sealed_key = $2 WHERE name = $1 RETURNING name;
