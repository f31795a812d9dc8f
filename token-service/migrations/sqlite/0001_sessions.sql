-- Sessions, subjects, revocations, keys, and what is known of predecessors.

-- The user as tokens know it, whole, at one version (U1).
CREATE TABLE subject (
    id               BLOB    NOT NULL PRIMARY KEY,
    user_id          INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    min_version      INTEGER NOT NULL,
    excepted_session BLOB,
    active           INTEGER NOT NULL,
    roles            TEXT    NOT NULL,
    end_reason       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a session; refreshes add none (S1).
CREATE TABLE session (
    id              BLOB    NOT NULL PRIMARY KEY,
    subject         BLOB    NOT NULL,
    user_id         INTEGER NOT NULL,
    subject_version INTEGER NOT NULL,
    assertion_id    BLOB    NOT NULL,
    generation      INTEGER NOT NULL,
    jti             BLOB    NOT NULL,
    previous_jti    BLOB,
    rotated_at      INTEGER NOT NULL,
    roles           TEXT    NOT NULL,
    -- What the present pair was minted with (S6).
    access_kid      TEXT    NOT NULL,
    refresh_kid     TEXT    NOT NULL,
    access_at       INTEGER NOT NULL,
    access_expires  INTEGER NOT NULL,
    access_roles    TEXT    NOT NULL,
    -- The last end of all its access tokens: a revocation outlives them (T1).
    access_until    INTEGER NOT NULL,
    amr             TEXT    NOT NULL,
    acr             TEXT    NOT NULL,
    auth_time       INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    ends_at         INTEGER NOT NULL,
    ended_at        INTEGER,
    end_reason      TEXT,
    -- Access tokens up to this generation are refused: a role was lost (U2).
    refused_generation INTEGER,
    -- Counts this session's events (A2).
    events          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX session_by_assertion ON session (assertion_id);
CREATE INDEX session_by_subject ON session (subject, created_at, id);
CREATE INDEX session_by_creation ON session (created_at, id);
-- What the sweeper ends, and what it deletes an hour later.
CREATE INDEX session_by_end ON session (ends_at) WHERE ended_at IS NULL;
CREATE INDEX session_ended ON session (ends_at) WHERE ended_at IS NOT NULL;

-- The gap-free counter behind revocations (V1); one row.
CREATE TABLE revocation_head (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL
) STRICT;

INSERT INTO revocation_head (one, number) VALUES (1, 0);

-- Access tokens of `session` up to `generation` are refused; NULL: all of them.
CREATE TABLE revocation (
    number     INTEGER NOT NULL PRIMARY KEY,
    session    BLOB    NOT NULL,
    generation INTEGER,
    until      INTEGER NOT NULL
) STRICT;

CREATE INDEX revocation_by_end ON revocation (until);

-- Keys that sign, sealed under the master key (K3).
CREATE TABLE signing_key (
    kid        TEXT    NOT NULL PRIMARY KEY,
    purpose    TEXT    NOT NULL,
    -- The lowest rank signs; the next one is published and waits (K1).
    rank       INTEGER NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Predecessors' databases (L1, L3).
CREATE TABLE source (
    name            TEXT    NOT NULL PRIMARY KEY,
    algorithm       TEXT    NOT NULL,
    sealed_key      BLOB,
    first_import_at INTEGER NOT NULL,
    accepted_until  INTEGER NOT NULL
) STRICT;
