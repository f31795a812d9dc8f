-- What was guessed counts no more.
-- $1 id
DELETE FROM guessing WHERE account = $1 RETURNING strangers, known_networks, known_devices, by_network;
