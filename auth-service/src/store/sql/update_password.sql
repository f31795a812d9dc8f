-- $1 id  $2 hash  $3 form  $4 cost class, or null  $5 whether it was set here
UPDATE users
SET password_hash = $2, password_form = $3, cost_class = $4, password_set_here = $5, password_changed_at = clock_timestamp()
WHERE id = $1;
