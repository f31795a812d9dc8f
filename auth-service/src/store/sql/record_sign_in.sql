-- That a user proved who they are, and the event of it; what was guessed before counts no more (C5).
-- $1 id  $2 the event's id  $3 the event  $4 the network's keyed hash, or null
UPDATE users SET last_sign_in_at = clock_timestamp() WHERE id = $1;
DELETE FROM guessing WHERE account = $1;
INSERT INTO known_network (id, network, seen_at)
SELECT $1, $4, clock_timestamp() WHERE $4 IS NOT NULL
ON CONFLICT (id, network) DO UPDATE SET seen_at = excluded.seen_at WHERE known_network.seen_at < later(excluded.seen_at, -86400000000);
INSERT INTO outbox (destination, event_id, body, created_at) VALUES ('audit', $2, $3, clock_timestamp());
