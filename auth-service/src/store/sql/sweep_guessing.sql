-- Forgets networks from which nobody signed in for 30 days, and of the names that nobody has those beyond the newest.
-- $1 how many of these are kept  $2 how many rows at a time
DELETE FROM known_network WHERE (id, network) IN (
    SELECT id, network FROM known_network WHERE seen_at < later(clock_timestamp(), -2592000000000) ORDER BY seen_at LIMIT $2
);
DELETE FROM guessing WHERE account IN (SELECT account FROM guessing WHERE nobody ORDER BY guessed_at DESC LIMIT $2 OFFSET $1);
