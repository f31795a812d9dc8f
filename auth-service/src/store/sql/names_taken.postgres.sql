-- Which of these names are somebody's.
-- $1 names, an array
SELECT taken.username
FROM unnest(cast($1 AS text[])) AS asked (name)
CROSS JOIN LATERAL (SELECT username FROM users WHERE username = asked.name OFFSET 0) taken;
