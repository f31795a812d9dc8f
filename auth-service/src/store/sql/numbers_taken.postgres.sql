-- Which of these numbers are somebody's.
-- $1 user_ids, an array
SELECT taken.user_id
FROM unnest(cast($1 AS bigint[])) AS asked (number)
CROSS JOIN LATERAL (SELECT user_id FROM users WHERE user_id = asked.number OFFSET 0) taken;
