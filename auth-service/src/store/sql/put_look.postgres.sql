-- What names look like, if they are still those names. Arrays of:
-- $1 id  $2 the name  $3 its look
UPDATE users SET look = seen.look
FROM unnest(cast($1 AS uuid[]), cast($2 AS text[]), cast($3 AS text[])) AS seen (id, username, look)
WHERE users.id = seen.id AND users.username = seen.username;
