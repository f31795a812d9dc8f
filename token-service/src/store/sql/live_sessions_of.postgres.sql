-- Locked in the order of ids (S11). Those past their end that were not swept yet are among them (T1). Written so that the index of those
-- that are not ended seems of no use: without statistics it would be read whole, once for each subject.
-- $1 subjects
SELECT id, subject, subject_version, generation, roles, created_at
FROM session
WHERE subject = ANY (ARRAY(SELECT unnest(cast($1 AS uuid[])))) AND coalesce(ended_at, timestamptz 'infinity') = timestamptz 'infinity'
ORDER BY id FOR NO KEY UPDATE;
