-- Guesses at accounts, and from where their users are known (C5).

-- Guesses at one account in a row, since the last success: tries that were reserved and not refunded.
CREATE TABLE guessing (
    -- The user's id, or the HMAC of a name that nobody has; both have 16 bytes.
    account        uuid        NOT NULL PRIMARY KEY,
    -- Whether nobody has the name: of such rows only the newest are kept.
    nobody         boolean     NOT NULL,
    strangers      integer     NOT NULL,
    known_networks integer     NOT NULL,
    known_devices  integer     NOT NULL,
    -- A JSON object: how many of the strangers' were from which network, by its keyed hash. No longer than there are guesses.
    by_network     text        NOT NULL,
    guessed_at     timestamptz NOT NULL
) WITH (fillfactor = 70); -- every sign-in writes one and deletes it again

CREATE INDEX guessing_of_nobody ON guessing (guessed_at) WHERE nobody;

-- Networks from which a user has signed in lately, as keyed hashes.
CREATE TABLE known_network (
    id      uuid        NOT NULL REFERENCES users (id),
    network bytea       NOT NULL,
    -- Of the last sign-in, to a day.
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (id, network)
);

CREATE INDEX known_network_by_age ON known_network (seen_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_auth') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON guessing, known_network TO carelink_auth;
    END IF;
END
$$;
