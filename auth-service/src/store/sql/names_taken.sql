-- Whether a name is somebody's.
-- $1 name
SELECT username FROM users WHERE username = $1;
