-- As beside it. How many is written out: a plan that does not know is made for a tenth of the table.
-- $1 destination  $2 not used here  $3 how old (microseconds)
SELECT id, event_id, subject, session, counter, body, created_at
FROM outbox WHERE destination = $1
  AND (created_at <= later(clock_timestamp(), -cast($3 AS bigint)) OR created_at > clock_timestamp())
ORDER BY id LIMIT 500;
