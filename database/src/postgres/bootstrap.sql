-- What migrating itself needs, made once.
CREATE TABLE IF NOT EXISTS migration (
    name       text        NOT NULL PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL
);

-- Work that must happen once (A5).
CREATE TABLE IF NOT EXISTS lease (
    name   text        NOT NULL PRIMARY KEY,
    holder uuid        NOT NULL,
    epoch  bigint      NOT NULL,
    until  timestamptz NOT NULL
);
