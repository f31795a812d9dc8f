-- $1 destination  $2 event id  $3 subject  $4 session  $5 counter  $6 body
INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
RETURNING id;
