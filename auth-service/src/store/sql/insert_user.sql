-- $1 id  $2 user_id  $3 name  $4 e-mail  $5 full name  $6 active  $7 roles  $8 hash  $9 form  $10 cost class
-- $11 whether the password was set here  $12 when, or null  $13 last sign-in, or null  $14 created  $15 source  $16 what the name looks like
INSERT INTO users (id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
    password_hash, password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source, look)
VALUES ($1, $2, $3, $4, $5, $6, false, $7, 1, 0, NULL, '', $8, $9, $10, $11, $12, $13, $14, $15, $16);
