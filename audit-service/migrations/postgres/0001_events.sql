-- The trail (PROTOCOL A). Events are added at the end and never change: the role that the service runs as may neither change nor
-- delete them, and triggers refuse it whoever asks.

-- Locked by whoever appends, before anything is looked up (A4).
CREATE TABLE trail_head (
    one  integer NOT NULL PRIMARY KEY CHECK (one = 1),
    size bigint  NOT NULL
);
INSERT INTO trail_head (one, size) VALUES (1, 0);

-- Every 4,096 positions are a zone. The indexes below begin with it, so that appending touches the few pages of the newest
-- zone instead of one page per event anywhere; a list goes from zone to zone, past those outside its time.
CREATE TABLE zones (
    zone     bigint      NOT NULL PRIMARY KEY,
    earliest timestamptz NOT NULL,
    latest   timestamptz NOT NULL
);

CREATE TABLE events (
    position        bigint      NOT NULL PRIMARY KEY,
    zone            bigint      NOT NULL,
    id              uuid        NOT NULL,
    time            timestamptz NOT NULL,
    received        timestamptz NOT NULL,
    kind            text        NOT NULL COLLATE "C",
    outcome         bigint      NOT NULL,
    subject         uuid,
    actor_user      uuid,               -- where it is not the subject
    session         uuid,
    session_counter bigint      NOT NULL,
    trace_id        bytea,
    body            bytea       NOT NULL    -- as delivered
);

CREATE UNIQUE INDEX events_id ON events (id);
CREATE INDEX events_kind ON events (zone, kind);
CREATE INDEX events_failed ON events (zone) WHERE outcome = 2;
CREATE INDEX events_subject ON events (zone, subject) WHERE subject IS NOT NULL;
CREATE INDEX events_actor_user ON events (zone, actor_user) WHERE actor_user IS NOT NULL;
CREATE INDEX events_session ON events (zone, session) WHERE session IS NOT NULL;
CREATE INDEX events_trace ON events (zone, trace_id) WHERE trace_id IS NOT NULL;

CREATE FUNCTION refuse_to_change_the_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the trail is append-only';
END
$$;

CREATE TRIGGER events_do_not_change BEFORE UPDATE OR DELETE ON events
FOR EACH ROW EXECUTE FUNCTION refuse_to_change_the_trail();

CREATE TRIGGER events_do_not_go BEFORE TRUNCATE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_trail();

-- The keys that producers have sealed personal parts to (A3), by id.
CREATE TABLE sealing_keys (
    key_id  text        NOT NULL COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- What the service may do while it runs, where it has a role of its own.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_audit') THEN
        GRANT SELECT, UPDATE ON trail_head TO carelink_audit;
        GRANT SELECT, INSERT, UPDATE ON zones TO carelink_audit;
        GRANT SELECT, INSERT ON events, sealing_keys TO carelink_audit;
    END IF;
END
$$;
