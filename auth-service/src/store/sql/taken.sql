-- Whether a name or a number is somebody's.
-- $1 name  $2 user_id
SELECT EXISTS (SELECT 1 FROM users WHERE username = $1) AS name_taken, EXISTS (SELECT 1 FROM users WHERE user_id = $2) AS number_taken;
