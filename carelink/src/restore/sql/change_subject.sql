-- $1 id  $2 version  $3 min_version  $4 active  $5 roles  $6 reason
UPDATE subject
SET version = $2, min_version = $3, excepted_session = NULL, active = $4, roles = $5, end_reason = $6
WHERE id = $1 AND version < $2;
