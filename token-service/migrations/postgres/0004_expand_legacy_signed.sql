-- What `legacy.accept = signed` needs: when a source was imported last, and who its users are here.

-- NULL: not since this is known; then nothing of the source is believed that was not imported.
ALTER TABLE source ADD COLUMN imported_at timestamptz;

-- A user of a source as the import saw them: the subject, at which version, in which incarnation of the stream (R1).
CREATE TABLE legacy_holder (
    source      text NOT NULL,
    legacy_id   bigint NOT NULL,
    subject     uuid NOT NULL,
    version     bigint NOT NULL,
    incarnation uuid NOT NULL,
    PRIMARY KEY (source, legacy_id)
);

CREATE INDEX legacy_holder_by_subject ON legacy_holder (subject);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carelink_token') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON legacy_holder TO carelink_token;
    END IF;
END
$$;
