-- A user of a source, as they were when they were first imported.
-- $1 source  $2 legacy id  $3 subject  $4 version
INSERT INTO legacy_holder (source, legacy_id, subject, version, incarnation)
SELECT $1, $2, $3, $4, incarnation FROM revocation_head WHERE true
ON CONFLICT (source, legacy_id) DO NOTHING;
