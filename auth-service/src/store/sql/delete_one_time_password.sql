-- $1 id
DELETE FROM one_time_password WHERE id = $1 RETURNING id;
