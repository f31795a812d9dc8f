-- Who brought an event, as the transport proved it; NULL for those from before. An event of a type that this caller does not write, or that
-- names another writer, is marked: it is kept, and nobody acts on it.
ALTER TABLE events
    ADD COLUMN proven_caller  text COLLATE "C",
    ADD COLUMN wrong_producer boolean NOT NULL DEFAULT false,
    -- Who did it, where that is no user: `uid:1000`, `cert:alice`, `gateway`.
    ADD COLUMN actor          text COLLATE "C";

CREATE INDEX events_wrong_producer ON events (zone) WHERE wrong_producer;
CREATE INDEX events_actor ON events (zone, actor) WHERE actor IS NOT NULL;
