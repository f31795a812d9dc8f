-- What every service's database has: the outbox and the lease.

-- Facts on their way to another service (A1). A relay delivers the lowest ids and deletes what was acknowledged.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT    NOT NULL,
    event_id    BLOB    NOT NULL,
    -- Known only to the statement that wrote the row; where set they complete the body.
    subject     BLOB,
    session     BLOB,
    counter     INTEGER,
    body        BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_by_destination ON outbox (destination, id);

-- Work that must happen once (A5).
CREATE TABLE lease (
    name   TEXT    NOT NULL PRIMARY KEY,
    holder BLOB    NOT NULL,
    epoch  INTEGER NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
