-- Users and their credentials.

-- A user as they are now. `version`, `min_version`, `excepted_session`, `active`, `roles` and `end_reason` are the snapshot of U1.
CREATE TABLE users (
    id                  uuid        NOT NULL PRIMARY KEY,
    user_id             bigint      NOT NULL UNIQUE,
    username            text        NOT NULL COLLATE "C" UNIQUE,
    email               text        NOT NULL COLLATE "C",
    full_name           text        NOT NULL,
    active              boolean     NOT NULL,
    -- Whether somebody here had the last word on `active`, not the source (L5).
    active_set_here     boolean     NOT NULL,
    -- A JSON list, sorted.
    roles               text        NOT NULL,
    version             bigint      NOT NULL,
    min_version         bigint      NOT NULL,
    excepted_session    uuid,
    end_reason          text        NOT NULL,
    -- Ours in PHC form, a predecessor's as it was; `!` where there is none.
    password_hash       text        NOT NULL,
    -- `raw` or `nfc`: how the password was prepared (C2).
    password_form       text        NOT NULL,
    -- The hasher and its parameters; null where no password opens it.
    cost_class          text        COLLATE "C",
    -- Whether the password is one that was set here (L5).
    password_set_here   boolean     NOT NULL,
    password_changed_at timestamptz,
    last_sign_in_at     timestamptz,
    created_at          timestamptz NOT NULL,
    -- The predecessor's database, or empty.
    source              text        NOT NULL
) WITH (fillfactor = 80); -- every sign-in writes its user's row anew

-- A hash: an imported address may be longer than a tree takes.
CREATE INDEX users_by_email ON users USING hash (email) WHERE email <> '';
CREATE INDEX users_by_cost_class ON users (cost_class) WHERE cost_class IS NOT NULL;

-- What was last read of a predecessor's row (L5).
CREATE TABLE legacy_user (
    source        text        NOT NULL COLLATE "C",
    legacy_id     bigint      NOT NULL,
    id            uuid        NOT NULL REFERENCES users (id),
    username      text        NOT NULL,
    email         text        NOT NULL,
    full_name     text        NOT NULL,
    -- SHA-256 of the encoded hash.
    hash_digest   bytea       NOT NULL,
    active        boolean     NOT NULL,
    roles         text        NOT NULL,
    -- Whether is_superuser has granted `admin`.
    admin         boolean     NOT NULL,
    last_login_at timestamptz NOT NULL,
    PRIMARY KEY (source, legacy_id)
);

-- The next number of a user whom no predecessor numbered (U4). One row. Whoever gives somebody a name or a number locks it first, so
-- that what is free then stays free.
CREATE TABLE user_number (
    id   integer NOT NULL PRIMARY KEY CHECK (id = 1),
    next bigint  NOT NULL
);

INSERT INTO user_number (id, next) VALUES (1, 1000000000);

-- What was reached once and stays so: `administrator` (C6).
CREATE TABLE milestone (
    name       text        NOT NULL COLLATE "C" PRIMARY KEY,
    reached_at timestamptz NOT NULL
);

-- A password that opens nothing but the setting of one (C6).
CREATE TABLE one_time_password (
    id         uuid        NOT NULL PRIMARY KEY REFERENCES users (id),
    -- SHA-256; the password has 100 random bits.
    digest     bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Signing keys that are in the trail already.
CREATE TABLE known_key (
    kid        text        NOT NULL COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL
);

-- What the service may do while it runs, where it has a role of its own. No user is ever deleted.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_auth') THEN
        GRANT SELECT, INSERT, UPDATE ON users, legacy_user TO carelink_auth;
        GRANT SELECT, UPDATE ON user_number TO carelink_auth;
        GRANT SELECT, INSERT ON milestone, known_key TO carelink_auth;
        GRANT SELECT, INSERT, UPDATE, DELETE ON one_time_password TO carelink_auth;
    END IF;
END
$$;
