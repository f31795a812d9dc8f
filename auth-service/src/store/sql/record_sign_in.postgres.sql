-- That a user proved who they are, and the event of it. One round trip.
-- $1 id  $2 the event's id  $3 the event
WITH seen AS (
    UPDATE users SET last_sign_in_at = clock_timestamp() WHERE id = $1
)
INSERT INTO outbox (destination, event_id, body, created_at) VALUES ('audit', $2, $3, clock_timestamp());
