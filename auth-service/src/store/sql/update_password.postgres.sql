-- Their rows are locked already. Arrays of:
-- $1 id  $2 hash  $3 form  $4 cost class, or null  $5 whether it was set here
UPDATE users
SET password_hash = new.password_hash, password_form = new.password_form, cost_class = new.cost_class,
    password_set_here = new.password_set_here, password_changed_at = clock_timestamp()
FROM unnest(cast($1 AS uuid[]), cast($2 AS text[]), cast($3 AS text[]), cast($4 AS text[]), cast($5 AS boolean[]))
    AS new (id, password_hash, password_form, cost_class, password_set_here)
WHERE users.id = new.id;
