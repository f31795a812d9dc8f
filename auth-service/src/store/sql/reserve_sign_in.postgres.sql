-- Reserves a try at whom a name or an e-mail address signs in (C1, C4, C5), and reads them with their hash. One round trip; nothing is
-- counted where the way they come by is closed. An address signs in only where exactly one active user has it and nobody's name is the same.
-- $1 as typed, or empty where nobody can have it  $2 its HMAC  $3 the network's keyed hash in hex  $4 the same as bytes, or null
-- $5 whom the device is known of, or null  $6 whether only known origins are tried
-- the most guesses: $7 of strangers  $8 from one network  $9 from known networks  $10 from known devices
WITH found AS MATERIALIZED (
    SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
           password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
    FROM users WHERE username = $1
    UNION ALL
    SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
           password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
    FROM users
    WHERE email = $1 AND email <> '' AND active
      AND NOT EXISTS (SELECT 1 FROM users WHERE username = $1)
      AND (SELECT count(*) FROM users WHERE email = $1 AND email <> '' AND active) = 1
), asked AS MATERIALIZED (
    SELECT coalesce(found.id, cast($2 AS uuid)) AS account, found.id IS NULL AS nobody,
           CASE WHEN found.id = $5 THEN 'known_devices'
                WHEN EXISTS (SELECT 1 FROM known_network WHERE id = found.id AND network = $4 AND seen_at > later(clock_timestamp(), -2592000000000))
                    THEN 'known_networks'
                ELSE 'strangers' END AS way
    FROM (SELECT 1) AS one LEFT JOIN found ON true
), reserved AS (
    INSERT INTO guessing AS g (account, nobody, strangers, known_networks, known_devices, by_network, guessed_at)
    SELECT account, nobody, cast(way = 'strangers' AS integer), cast(way = 'known_networks' AS integer), cast(way = 'known_devices' AS integer),
           CASE WHEN way = 'strangers' THEN cast(jsonb_build_object(cast($3 AS text), 1) AS text) ELSE '{}' END, clock_timestamp()
    FROM asked WHERE way <> 'strangers' OR NOT $6
    ON CONFLICT (account) DO UPDATE
    SET strangers = g.strangers + excluded.strangers,
        known_networks = g.known_networks + excluded.known_networks,
        known_devices = g.known_devices + excluded.known_devices,
        by_network = CASE WHEN excluded.strangers = 0 THEN g.by_network ELSE cast(cast(g.by_network AS jsonb) || jsonb_build_object(
            cast($3 AS text), coalesce(cast(cast(g.by_network AS jsonb) ->> $3 AS bigint), 0) + 1) AS text) END,
        guessed_at = excluded.guessed_at
    WHERE (excluded.strangers = 0
           OR (g.strangers < $7 AND coalesce(cast(cast(g.by_network AS jsonb) ->> $3 AS bigint), 0) < $8))
      AND (excluded.known_networks = 0 OR g.known_networks < $9)
      AND (excluded.known_devices = 0 OR g.known_devices < $10)
    RETURNING strangers, known_networks, known_devices, by_network
)
SELECT asked.account, asked.way, reserved.strangers IS NOT NULL AS reserved, reserved.strangers, reserved.known_networks, reserved.known_devices,
       reserved.by_network, found.*
FROM asked LEFT JOIN reserved ON true LEFT JOIN found ON true;
