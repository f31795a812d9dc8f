-- The lowest ids present. No cursor: the order of ids is not that of commits.
-- $1 destination  $2 at most
SELECT id, event_id, subject, session, counter, body, created_at
FROM outbox WHERE destination = $1 ORDER BY id LIMIT $2;
