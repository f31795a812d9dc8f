-- What several replicas on one database need: whose stream it is, a pulse, and keys that rotate.

-- The stream's incarnation: another one after a restore (R1). `keys` changes with every change of a key, so that each replica
-- that reads the head learns of it.
ALTER TABLE revocation_head ADD COLUMN incarnation BLOB NOT NULL DEFAULT x'';
ALTER TABLE revocation_head ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;
UPDATE revocation_head SET incarnation = randomblob(16);

-- When it was written, by the database's clock.
ALTER TABLE revocation ADD COLUMN revoked_at INTEGER NOT NULL DEFAULT 0;

-- Written and counted every second by whoever holds the lease (T5); NULL: never yet. The last gap of over five seconds is an outage.
CREATE TABLE pulse (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    beats        INTEGER NOT NULL,
    beaten_at    INTEGER,
    outage_began INTEGER,
    outage_ended INTEGER
) STRICT;

INSERT INTO pulse (one, beats) VALUES (1, 0);

-- The life of a key (K1): published, signs, retired; `asked_at`: an operator wants it to sign as soon as it may.
ALTER TABLE signing_key ADD COLUMN signs_from INTEGER;
ALTER TABLE signing_key ADD COLUMN retired_at INTEGER;
ALTER TABLE signing_key ADD COLUMN asked_at INTEGER;
UPDATE signing_key SET signs_from = created_at WHERE rank = 0;
CREATE UNIQUE INDEX signing_key_signs ON signing_key (purpose) WHERE signs_from IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX signing_key_next ON signing_key (purpose) WHERE signs_from IS NULL;
