-- The lowest ids present. No cursor: the order of ids is not that of commits.
-- A row from the future (the clock was set back) is as old as any.
-- $1 destination  $2 at most  $3 how old (microseconds)
SELECT id, event_id, subject, session, counter, body, created_at
FROM outbox WHERE destination = $1
  AND (created_at <= later(clock_timestamp(), -cast($3 AS bigint)) OR created_at > clock_timestamp())
ORDER BY id LIMIT $2;
