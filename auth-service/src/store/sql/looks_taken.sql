-- Whether somebody's name looks like that.
-- $1 the look
SELECT id FROM users WHERE look = $1 LIMIT 1;
