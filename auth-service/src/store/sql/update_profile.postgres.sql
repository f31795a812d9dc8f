-- Their rows are locked already. Arrays of:
-- $1 id  $2 name  $3 e-mail  $4 full name  $5 last sign-in in the source, or null
UPDATE users
SET look = CASE WHEN users.username = new.username THEN users.look END, username = new.username, email = new.email, full_name = new.full_name, last_sign_in_at = greatest(users.last_sign_in_at, new.last_sign_in_at)
FROM unnest(cast($1 AS uuid[]), cast($2 AS text[]), cast($3 AS text[]), cast($4 AS text[]), cast($5 AS timestamptz[]))
    AS new (id, username, email, full_name, last_sign_in_at)
WHERE users.id = new.id;
