-- Gives back a try that was reserved and not made.
-- $1 account  $2 the way it came by  $3 the network's keyed hash in hex
UPDATE guessing
SET strangers = strangers - ($2 = 'strangers' AND strangers > 0),
    known_networks = known_networks - ($2 = 'known_networks' AND known_networks > 0),
    known_devices = known_devices - ($2 = 'known_devices' AND known_devices > 0),
    by_network = CASE WHEN $2 = 'strangers' AND json_extract(by_network, '$.' || $3) > 0
        THEN json_set(by_network, '$.' || $3, json_extract(by_network, '$.' || $3) - 1) ELSE by_network END
WHERE account = $1;
