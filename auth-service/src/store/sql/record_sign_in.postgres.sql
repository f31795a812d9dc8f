-- That a user proved who they are, and the event of it; what was guessed before counts no more (C5). One round trip. PostgreSQL runs what
-- changes rows from the last to the first: the user's row is locked before the guesses.
-- $1 id  $2 the event's id  $3 the event  $4 the network's keyed hash, or null
WITH known AS (
    INSERT INTO known_network AS k (id, network, seen_at)
    SELECT $1, cast($4 AS bytea), clock_timestamp() WHERE cast($4 AS bytea) IS NOT NULL
    ON CONFLICT (id, network) DO UPDATE SET seen_at = excluded.seen_at WHERE k.seen_at < later(excluded.seen_at, -86400000000)
), opened AS (
    DELETE FROM guessing WHERE account = $1
), seen AS (
    UPDATE users SET last_sign_in_at = clock_timestamp() WHERE id = $1
)
INSERT INTO outbox (destination, event_id, body, created_at) VALUES ('audit', $2, $3, clock_timestamp());
