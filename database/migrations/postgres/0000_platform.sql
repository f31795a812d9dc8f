-- What every service's schema has: the outbox and the function that makes time shareable between engines.
-- The lease and the list of migrations are there already: whoever migrates works under them.

-- Adds microseconds. STABLE and without a condition on NULL, so that it is inlined; what is absurd is cut to 3,000 years.
CREATE FUNCTION later(timestamptz, bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT $1 + least(greatest($2, -100000000000000000), 100000000000000000) * interval ''1 microsecond''';

-- Facts on their way to another service (A1). A relay delivers the lowest ids and deletes what was acknowledged.
CREATE TABLE outbox (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    destination text        NOT NULL,
    event_id    uuid        NOT NULL,
    -- Known only to the statement that wrote the row; where set they complete the body.
    subject     uuid,
    session     uuid,
    counter     bigint,
    body        bytea       NOT NULL,
    created_at  timestamptz NOT NULL
-- Rows live for a moment: vacuumed by their number, never by a share of a table that is mostly empty.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = 20000);

CREATE INDEX outbox_by_destination ON outbox (destination, id);

-- The runtime role is called as the schema. Where there is none, its owner runs the service.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = current_schema()) THEN
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON outbox TO %I', current_schema());
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON lease TO %I', current_schema());
        EXECUTE format('GRANT SELECT ON migration TO %I', current_schema());
    END IF;
END $$;
