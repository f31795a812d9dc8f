-- Calls that are sent again, idle logoff, whose session it is in words, signing keys of more than one kind. Replicas that know nothing
-- of it may go on.

-- The call that rotated the session last, and the one that signed out of it: sent again, either gets the same answer.
ALTER TABLE session ADD COLUMN rotated_by uuid;
ALTER TABLE session ADD COLUMN ended_by uuid;
-- A browser's, in cookies (B1).
ALTER TABLE session ADD COLUMN cookies boolean NOT NULL DEFAULT false;
-- The highest generation whose access token a verifier has seen, when one was used last, and the session's end by idleness (S12);
-- NULL: none, not told, never. The limit is in microseconds.
ALTER TABLE session ADD COLUMN seen_generation bigint NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN active_at timestamptz;
ALTER TABLE session ADD COLUMN idle_limit bigint;
ALTER TABLE session ADD COLUMN idle_at timestamptz;
-- In words.
ALTER TABLE session ADD COLUMN device text NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN network text NOT NULL DEFAULT '';
CREATE INDEX session_idle ON session (idle_at) WHERE ended_at IS NULL AND idle_at IS NOT NULL;

-- Who verifies tokens: up to when it has told what it saw, and until when it may accept tokens without a word from here (S12).
CREATE TABLE reporter (
    id            uuid        NOT NULL PRIMARY KEY,
    told_until    timestamptz NOT NULL,
    trusted_until timestamptz NOT NULL
);

ALTER TABLE signing_key ADD COLUMN algorithm text NOT NULL DEFAULT '';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_token') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON reporter TO carelink_token;
    END IF;
END
$$;
