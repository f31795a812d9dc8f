-- Guesses at accounts, and from where their users are known (C5).

-- Guesses at one account in a row, since the last success: tries that were reserved and not refunded.
CREATE TABLE guessing (
    -- The user's id, or the HMAC of a name that nobody has; both have 16 bytes.
    account        BLOB    NOT NULL PRIMARY KEY,
    -- Whether nobody has the name: of such rows only the newest are kept.
    nobody         INTEGER NOT NULL,
    strangers      INTEGER NOT NULL,
    known_networks INTEGER NOT NULL,
    known_devices  INTEGER NOT NULL,
    -- A JSON object: how many of the strangers' were from which network, by its keyed hash. No longer than there are guesses.
    by_network     TEXT    NOT NULL,
    guessed_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX guessing_of_nobody ON guessing (guessed_at) WHERE nobody;

-- Networks from which a user has signed in lately, as keyed hashes.
CREATE TABLE known_network (
    id      BLOB    NOT NULL REFERENCES users (id),
    network BLOB    NOT NULL,
    -- Of the last sign-in, to a day.
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (id, network)
) STRICT, WITHOUT ROWID;

CREATE INDEX known_network_by_age ON known_network (seen_at);
