-- $1 account  $2 the user's id, or null
SELECT g.strangers, g.known_networks, g.known_devices, g.by_network, g.guessed_at,
       (SELECT count(*) FROM known_network WHERE id = $2 AND seen_at > later(clock_timestamp(), -2592000000000)) AS networks
FROM (SELECT 1 AS one) AS o LEFT JOIN guessing g ON g.account = $1;
