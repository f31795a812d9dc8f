-- Sessions, subjects, revocations, keys, and what is known of predecessors.

-- The user as tokens know it, whole, at one version (U1).
CREATE TABLE subject (
    id               uuid    NOT NULL PRIMARY KEY,
    excepted_session uuid,
    user_id          bigint  NOT NULL,
    version          bigint  NOT NULL,
    min_version      bigint  NOT NULL,
    active           boolean NOT NULL,
    roles            text    NOT NULL,
    end_reason       text    NOT NULL
) WITH (fillfactor = 90);

-- One row a session; refreshes add none (S1). No index has a column that a refresh changes, and pages keep room, so that
-- the row's next version lies beside it and touches no index. The columns of fixed width come first.
CREATE TABLE session (
    id              uuid        NOT NULL PRIMARY KEY,
    subject         uuid        NOT NULL,
    assertion_id    uuid        NOT NULL,
    user_id         bigint      NOT NULL,
    subject_version bigint      NOT NULL,
    generation      bigint      NOT NULL,
    -- Counts this session's events (A2).
    events          bigint      NOT NULL,
    -- Access tokens up to this generation are refused: a role was lost (U2).
    refused_generation bigint,
    rotated_at      timestamptz NOT NULL,
    access_at       timestamptz NOT NULL,
    access_expires  timestamptz NOT NULL,
    -- The last end of all its access tokens: a revocation outlives them (T1).
    access_until    timestamptz NOT NULL,
    auth_time       timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    ended_at        timestamptz,
    jti             bytea       NOT NULL,
    previous_jti    bytea,
    roles           text        NOT NULL,
    -- What the present pair was minted with (S6).
    access_kid      text        NOT NULL,
    refresh_kid     text        NOT NULL,
    access_roles    text        NOT NULL,
    amr             text        NOT NULL,
    acr             text        NOT NULL,
    end_reason      text
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX session_by_assertion ON session (assertion_id);
CREATE INDEX session_by_subject ON session (subject, created_at, id);
CREATE INDEX session_by_creation ON session (created_at, id);
-- What the sweeper ends, and what it deletes an hour later.
CREATE INDEX session_by_end ON session (ends_at) WHERE ended_at IS NULL;
CREATE INDEX session_ended ON session (ends_at) WHERE ended_at IS NOT NULL;

-- The gap-free counter behind revocations (V1); one row.
CREATE TABLE revocation_head (
    one    bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    number bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO revocation_head (one, number) VALUES (1, 0);

-- Access tokens of `session` up to `generation` are refused; NULL: all of them.
CREATE TABLE revocation (
    number     bigint      NOT NULL PRIMARY KEY,
    session    uuid        NOT NULL,
    generation bigint,
    until      timestamptz NOT NULL
);

CREATE INDEX revocation_by_end ON revocation (until);

-- Keys that sign, sealed under the master key (K3).
CREATE TABLE signing_key (
    kid        text        NOT NULL COLLATE "C" PRIMARY KEY,
    purpose    text        NOT NULL COLLATE "C",
    -- They sign in the order of ranks.
    rank       bigint      NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

-- Predecessors' databases (L1, L3).
CREATE TABLE source (
    name            text        NOT NULL COLLATE "C" PRIMARY KEY,
    algorithm       text        NOT NULL,
    sealed_key      bytea,
    first_import_at timestamptz NOT NULL,
    accepted_until  timestamptz NOT NULL
);

-- What the service may do while it runs, where it has a role of its own.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_token') THEN
        GRANT SELECT, INSERT, UPDATE ON subject, source TO carelink_token;
        GRANT SELECT, INSERT, UPDATE, DELETE ON session, signing_key TO carelink_token;
        GRANT SELECT, INSERT, DELETE ON revocation TO carelink_token;
        GRANT SELECT, UPDATE ON revocation_head TO carelink_token;
    END IF;
END
$$;
