-- Users and their credentials.

-- A user as they are now. `version`, `min_version`, `excepted_session`, `active`, `roles` and `end_reason` are the snapshot of U1.
CREATE TABLE users (
    id                  BLOB    NOT NULL PRIMARY KEY,
    user_id             INTEGER NOT NULL UNIQUE,
    username            TEXT    NOT NULL UNIQUE,
    email               TEXT    NOT NULL,
    full_name           TEXT    NOT NULL,
    active              INTEGER NOT NULL,
    -- Whether somebody here had the last word on `active`, not the source (L5).
    active_set_here     INTEGER NOT NULL,
    -- A JSON list, sorted.
    roles               TEXT    NOT NULL,
    version             INTEGER NOT NULL,
    min_version         INTEGER NOT NULL,
    excepted_session    BLOB,
    end_reason          TEXT    NOT NULL,
    -- Ours in PHC form, a predecessor's as it was; `!` where there is none.
    password_hash       TEXT    NOT NULL,
    -- `raw` or `nfc`: how the password was prepared (C2).
    password_form       TEXT    NOT NULL,
    -- The hasher and its parameters; null where no password opens it.
    cost_class          TEXT,
    -- Whether the password is one that was set here (L5).
    password_set_here   INTEGER NOT NULL,
    password_changed_at INTEGER,
    last_sign_in_at     INTEGER,
    created_at          INTEGER NOT NULL,
    -- The predecessor's database, or empty.
    source              TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_email ON users (email) WHERE email <> '';
CREATE INDEX users_by_cost_class ON users (cost_class) WHERE cost_class IS NOT NULL;

-- What was last read of a predecessor's row (L5).
CREATE TABLE legacy_user (
    source        TEXT    NOT NULL,
    legacy_id     INTEGER NOT NULL,
    id            BLOB    NOT NULL REFERENCES users (id),
    username      TEXT    NOT NULL,
    email         TEXT    NOT NULL,
    full_name     TEXT    NOT NULL,
    -- SHA-256 of the encoded hash.
    hash_digest   BLOB    NOT NULL,
    active        INTEGER NOT NULL,
    roles         TEXT    NOT NULL,
    -- Whether is_superuser has granted `admin`.
    admin         INTEGER NOT NULL,
    last_login_at INTEGER NOT NULL,
    PRIMARY KEY (source, legacy_id)
) STRICT, WITHOUT ROWID;

-- The next number of a user whom no predecessor numbered (U4). One row.
CREATE TABLE user_number (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    next INTEGER NOT NULL
) STRICT;

INSERT INTO user_number (id, next) VALUES (1, 1000000000);

-- What was reached once and stays so: `administrator` (C6).
CREATE TABLE milestone (
    name       TEXT    NOT NULL PRIMARY KEY,
    reached_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A password that opens nothing but the setting of one (C6).
CREATE TABLE one_time_password (
    id         BLOB    NOT NULL PRIMARY KEY REFERENCES users (id),
    -- SHA-256; the password has 100 random bits.
    digest     BLOB    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Signing keys that are in the trail already.
CREATE TABLE known_key (
    kid        TEXT    NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
