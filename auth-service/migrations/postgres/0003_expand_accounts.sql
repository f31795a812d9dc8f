-- Names that look alike, and one-time links by mail.

-- What a name looks like: two users whose names look alike are told apart by nobody. Null: not looked at yet.
ALTER TABLE users ADD COLUMN look text COLLATE "C";

-- A hash: an imported name may be longer than a tree takes.
CREATE INDEX users_by_look ON users USING hash (look) WHERE look IS NOT NULL;
CREATE INDEX users_without_look ON users (id) WHERE look IS NULL;

-- The one link by which a user may set a password; a new one takes the place of the one before.
CREATE TABLE one_time_link (
    id         uuid        NOT NULL PRIMARY KEY REFERENCES users (id),
    -- SHA-256; what is mailed has 256 random bits.
    digest     bytea       NOT NULL UNIQUE,
    -- `invitation` or `reset`.
    purpose    text        NOT NULL,
    expires_at timestamptz NOT NULL
);

-- How often a link was asked for within the hour: for an account (as guesses know it) or from a network (by its keyed hash).
CREATE TABLE link_request (
    about    bytea       NOT NULL PRIMARY KEY,
    began_at timestamptz NOT NULL,
    asked    bigint      NOT NULL
);

CREATE INDEX link_request_by_age ON link_request (began_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_auth') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON one_time_link, link_request TO carelink_auth;
    END IF;
END
$$;
