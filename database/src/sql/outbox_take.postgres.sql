-- As beside it, but for a window of ids from the lowest on: a plan that sorts whatever waits would read all of it for each batch,
-- and without statistics (the table is mostly empty) that is what the planner makes of LIMIT 500 alone.
-- $1 destination  $2 not used here  $3 how old (microseconds)
WITH lowest AS MATERIALIZED (
    SELECT id FROM outbox WHERE destination = $1 ORDER BY id LIMIT 1
)
SELECT o.id, o.event_id, o.subject, o.session, o.counter, o.body, o.created_at
FROM lowest, outbox AS o
WHERE o.destination = $1 AND o.id >= lowest.id AND o.id < lowest.id + 4000
  AND (o.created_at <= later(clock_timestamp(), -cast($3 AS bigint)) OR o.created_at > clock_timestamp())
ORDER BY o.id LIMIT 500;
