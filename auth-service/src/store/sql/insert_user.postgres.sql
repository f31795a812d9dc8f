-- Arrays of:
-- $1 id  $2 user_id  $3 name  $4 e-mail  $5 full name  $6 active  $7 roles  $8 hash  $9 form  $10 cost class
-- $11 whether the password was set here  $12 when, or null  $13 last sign-in, or null  $14 created  $15 source  $16 what the name looks like
INSERT INTO users (id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
    password_hash, password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source, look)
SELECT id, user_id, username, email, full_name, active, false, roles, 1, 0, NULL, '',
    password_hash, password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source, look
FROM unnest(
    cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS text[]), cast($4 AS text[]), cast($5 AS text[]), cast($6 AS boolean[]),
    cast($7 AS text[]), cast($8 AS text[]), cast($9 AS text[]), cast($10 AS text[]), cast($11 AS boolean[]), cast($12 AS timestamptz[]),
    cast($13 AS timestamptz[]), cast($14 AS timestamptz[]), cast($15 AS text[]), cast($16 AS text[])
) AS made (id, user_id, username, email, full_name, active, roles, password_hash, password_form, cost_class, password_set_here,
    password_changed_at, last_sign_in_at, created_at, source, look);
