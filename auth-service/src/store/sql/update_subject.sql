-- The snapshot of U1, whole.
-- $1 id  $2 version  $3 min_version  $4 excepted session, or null  $5 active  $6 roles  $7 reason of the last ending  $8 whether `active` was set here
UPDATE users
SET version = $2, min_version = $3, excepted_session = $4, active = $5, roles = $6, end_reason = $7, active_set_here = $8
WHERE id = $1;
