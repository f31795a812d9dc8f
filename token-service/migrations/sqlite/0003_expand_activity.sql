-- Calls that are sent again, idle logoff, whose session it is in words, signing keys of more than one kind. Replicas that know nothing
-- of it may go on.

-- The call that rotated the session last, and the one that signed out of it: sent again, either gets the same answer.
ALTER TABLE session ADD COLUMN rotated_by BLOB;
ALTER TABLE session ADD COLUMN ended_by BLOB;
-- 1: a browser's, in cookies (B1).
ALTER TABLE session ADD COLUMN cookies INTEGER NOT NULL DEFAULT 0;
-- The highest generation whose access token a verifier has seen, when one was used last, and the session's end by idleness (S12);
-- NULL: none, not told, never.
ALTER TABLE session ADD COLUMN seen_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN active_at INTEGER;
ALTER TABLE session ADD COLUMN idle_limit INTEGER;
ALTER TABLE session ADD COLUMN idle_at INTEGER;
-- In words.
ALTER TABLE session ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN network TEXT NOT NULL DEFAULT '';
CREATE INDEX session_idle ON session (idle_at) WHERE ended_at IS NULL AND idle_at IS NOT NULL;

-- Who verifies tokens: up to when it has told what it saw, and until when it may accept tokens without a word from here (S12).
CREATE TABLE reporter (
    id            BLOB    NOT NULL PRIMARY KEY,
    told_until    INTEGER NOT NULL,
    trusted_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE signing_key ADD COLUMN algorithm TEXT NOT NULL DEFAULT '';
