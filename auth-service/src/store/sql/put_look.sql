-- What a name looks like, if it is still that name.
-- $1 id  $2 the name  $3 its look
UPDATE users SET look = $3 WHERE id = $1 AND username = $2;
