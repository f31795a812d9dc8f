-- The trail (PROTOCOL A). Events are added at the end and never change: the triggers refuse UPDATE and DELETE, whoever asks.
-- (A trigger on INSERT, against INSERT OR REPLACE, would cost a third more per event, and stop nobody who can drop it.)

-- Locked by whoever appends, before anything is looked up (A4).
CREATE TABLE trail_head (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL
) STRICT;
INSERT INTO trail_head (one, size) VALUES (1, 0);

-- Every 4,096 positions are a zone. The indexes below begin with it, so that appending touches the few pages of the newest
-- zone instead of one page per event anywhere; a list goes from zone to zone, past those outside its time.
CREATE TABLE zones (
    zone     INTEGER NOT NULL PRIMARY KEY,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    position        INTEGER NOT NULL PRIMARY KEY,
    zone            INTEGER NOT NULL,
    id              BLOB    NOT NULL,
    time            INTEGER NOT NULL,
    received        INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    outcome         INTEGER NOT NULL,
    subject         BLOB,
    actor_user      BLOB,               -- where it is not the subject
    session         BLOB,
    session_counter INTEGER NOT NULL,
    trace_id        BLOB,
    body            BLOB    NOT NULL    -- as delivered
) STRICT;

CREATE UNIQUE INDEX events_id ON events (id);
CREATE INDEX events_kind ON events (zone, kind);
CREATE INDEX events_failed ON events (zone) WHERE outcome = 2;
CREATE INDEX events_subject ON events (zone, subject) WHERE subject IS NOT NULL;
CREATE INDEX events_actor_user ON events (zone, actor_user) WHERE actor_user IS NOT NULL;
CREATE INDEX events_session ON events (zone, session) WHERE session IS NOT NULL;
CREATE INDEX events_trace ON events (zone, trace_id) WHERE trace_id IS NOT NULL;

CREATE TRIGGER events_do_not_change BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'the trail is append-only');
END;

CREATE TRIGGER events_do_not_go BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'the trail is append-only');
END;

-- The keys that producers have sealed personal parts to (A3), by id.
CREATE TABLE sealing_keys (
    key_id   TEXT    NOT NULL PRIMARY KEY,
    seen_at  INTEGER NOT NULL
) STRICT;
