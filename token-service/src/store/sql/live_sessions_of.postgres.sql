-- Locked in the order of ids (S11). Those past their end that were not swept yet are among them (T1).
-- $1 subjects
SELECT id, subject, subject_version, generation, roles
FROM session WHERE subject IN (SELECT unnest(cast($1 AS uuid[]))) AND ended_at IS NULL ORDER BY id FOR NO KEY UPDATE;
