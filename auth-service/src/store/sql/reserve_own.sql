-- Reserves a try at a user's own password (C4, C5), and reads them with their hash. One round trip; see reserve_sign_in.sql.
-- $1 id  $2 the id again  $3 the network's keyed hash in hex  $4 the same as bytes, or null  $5 whom the device is known of, or null
-- $6 whether only known origins are tried
-- the most guesses: $7 of strangers  $8 from one network  $9 from known networks  $10 from known devices
WITH found AS (
    SELECT id FROM users WHERE id = $1
), asked AS (
    SELECT coalesce(found.id, $2) AS account, found.id IS NULL AS nobody,
           CASE WHEN found.id = $5 THEN 'known_devices'
                WHEN EXISTS (SELECT 1 FROM known_network WHERE id = found.id AND network = $4 AND seen_at > later(clock_timestamp(), -2592000000000))
                    THEN 'known_networks'
                ELSE 'strangers' END AS way
    FROM (SELECT 1 AS one) LEFT JOIN found ON true
)
INSERT INTO guessing (account, nobody, strangers, known_networks, known_devices, by_network, guessed_at)
SELECT account, nobody, way = 'strangers', way = 'known_networks', way = 'known_devices',
       CASE WHEN way = 'strangers' THEN json_object($3, 1) ELSE '{}' END, clock_timestamp()
FROM asked WHERE way <> 'strangers' OR NOT $6
ON CONFLICT (account) DO UPDATE
SET strangers = strangers + excluded.strangers,
    known_networks = known_networks + excluded.known_networks,
    known_devices = known_devices + excluded.known_devices,
    by_network = CASE WHEN excluded.strangers = 0 THEN by_network
                      ELSE json_set(by_network, '$.' || $3, coalesce(json_extract(by_network, '$.' || $3), 0) + 1) END,
    guessed_at = excluded.guessed_at
WHERE (excluded.strangers = 0 OR (strangers < $7 AND coalesce(json_extract(by_network, '$.' || $3), 0) < $8))
  AND (excluded.known_networks = 0 OR known_networks < $9)
  AND (excluded.known_devices = 0 OR known_devices < $10);

WITH found AS (
    SELECT id FROM users WHERE id = $1
), asked AS (
    SELECT coalesce(found.id, $2) AS account, found.id IS NULL AS nobody,
           CASE WHEN found.id = $5 THEN 'known_devices'
                WHEN EXISTS (SELECT 1 FROM known_network WHERE id = found.id AND network = $4 AND seen_at > later(clock_timestamp(), -2592000000000))
                    THEN 'known_networks'
                ELSE 'strangers' END AS way
    FROM (SELECT 1 AS one) LEFT JOIN found ON true
)
SELECT asked.account, asked.way, changes() > 0 AS reserved, g.strangers, g.known_networks, g.known_devices, g.by_network,
       u.password_hash, u.id, u.user_id, u.username, u.email, u.full_name, u.active, u.active_set_here, u.roles, u.version,
       u.min_version, u.excepted_session, u.end_reason, u.password_form, u.cost_class, u.password_set_here, u.password_changed_at,
       u.last_sign_in_at, u.created_at, u.source
FROM asked LEFT JOIN guessing g ON g.account = asked.account LEFT JOIN found ON true LEFT JOIN users u ON u.id = found.id;
