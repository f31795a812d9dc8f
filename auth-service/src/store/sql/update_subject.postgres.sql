-- The snapshots of U1, whole; their rows are locked already. Arrays of:
-- $1 id  $2 version  $3 min_version  $4 excepted session, or null  $5 active  $6 roles  $7 reason of the last ending  $8 whether `active` was set here
UPDATE users
SET version = new.version, min_version = new.min_version, excepted_session = new.excepted_session, active = new.active, roles = new.roles,
    end_reason = new.end_reason, active_set_here = new.active_set_here
FROM unnest(
    cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS bigint[]), cast($4 AS uuid[]), cast($5 AS boolean[]), cast($6 AS text[]),
    cast($7 AS text[]), cast($8 AS boolean[])
) AS new (id, version, min_version, excepted_session, active, roles, end_reason, active_set_here)
WHERE users.id = new.id;
