-- Those past their end that were not swept yet are among them (T1).
-- $1 subject
SELECT id, subject, subject_version, generation, roles, created_at FROM session WHERE subject = $1 AND ended_at IS NULL ORDER BY id;
