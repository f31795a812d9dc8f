-- $1 id
SELECT id FROM one_time_password WHERE id = $1;
