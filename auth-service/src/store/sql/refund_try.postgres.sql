-- Gives back a try that was reserved and not made.
-- $1 account  $2 the way it came by  $3 the network's keyed hash in hex
UPDATE guessing
SET strangers = strangers - CASE WHEN $2 = 'strangers' AND strangers > 0 THEN 1 ELSE 0 END,
    known_networks = known_networks - CASE WHEN $2 = 'known_networks' AND known_networks > 0 THEN 1 ELSE 0 END,
    known_devices = known_devices - CASE WHEN $2 = 'known_devices' AND known_devices > 0 THEN 1 ELSE 0 END,
    by_network = CASE WHEN $2 = 'strangers' AND cast(cast(by_network AS jsonb) ->> $3 AS bigint) > 0
        THEN cast(cast(by_network AS jsonb) || jsonb_build_object(cast($3 AS text), cast(cast(by_network AS jsonb) ->> $3 AS bigint) - 1) AS text)
        ELSE by_network END
WHERE account = $1;
