-- What `legacy.accept = signed` needs: when a source was imported last, and who its users are here.

-- NULL: not since this is known; then nothing of the source is believed that was not imported.
ALTER TABLE source ADD COLUMN imported_at INTEGER;

-- A user of a source as the import saw them: the subject, at which version, in which incarnation of the stream (R1).
CREATE TABLE legacy_holder (
    source      TEXT NOT NULL,
    legacy_id   INTEGER NOT NULL,
    subject     BLOB NOT NULL,
    version     INTEGER NOT NULL,
    incarnation BLOB NOT NULL,
    PRIMARY KEY (source, legacy_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX legacy_holder_by_subject ON legacy_holder (subject);
