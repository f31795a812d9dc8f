-- Users of a source, as they were when they were first imported.
-- $1 sources  $2 legacy ids  $3 subjects  $4 versions
INSERT INTO legacy_holder (source, legacy_id, subject, version, incarnation)
SELECT w.source, w.legacy_id, w.subject, w.version, r.incarnation
FROM unnest(cast($1 AS text[]), cast($2 AS bigint[]), cast($3 AS uuid[]), cast($4 AS bigint[])) AS w (source, legacy_id, subject, version)
CROSS JOIN revocation_head r
ORDER BY w.source, w.legacy_id
ON CONFLICT (source, legacy_id) DO NOTHING;
