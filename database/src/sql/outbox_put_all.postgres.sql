-- Numbered in the order given.
-- $1 destinations  $2 event ids  $3 subjects  $4 sessions  $5 counters  $6 bodies
INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
SELECT destination, event_id, subject, session, counter, body, clock_timestamp()
FROM unnest(cast($1 AS text[]), cast($2 AS uuid[]), cast($3 AS uuid[]), cast($4 AS uuid[]), cast($5 AS bigint[]), cast($6 AS bytea[]))
    WITH ORDINALITY AS given (destination, event_id, subject, session, counter, body, place)
ORDER BY place
RETURNING id;
