-- Names that look alike, and one-time links by mail.

-- What a name looks like: two users whose names look alike are told apart by nobody. Null: not looked at yet.
ALTER TABLE users ADD COLUMN look TEXT;

CREATE INDEX users_by_look ON users (look) WHERE look IS NOT NULL;
CREATE INDEX users_without_look ON users (id) WHERE look IS NULL;

-- The one link by which a user may set a password; a new one takes the place of the one before.
CREATE TABLE one_time_link (
    id         BLOB    NOT NULL PRIMARY KEY REFERENCES users (id),
    -- SHA-256; what is mailed has 256 random bits.
    digest     BLOB    NOT NULL UNIQUE,
    -- `invitation` or `reset`.
    purpose    TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How often a link was asked for within the hour: for an account (as guesses know it) or from a network (by its keyed hash).
CREATE TABLE link_request (
    about    BLOB    NOT NULL PRIMARY KEY,
    began_at INTEGER NOT NULL,
    asked    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX link_request_by_age ON link_request (began_at);
