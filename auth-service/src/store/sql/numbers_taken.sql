-- Whether a number is somebody's.
-- $1 user_id
SELECT user_id FROM users WHERE user_id = $1;
