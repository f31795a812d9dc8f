-- $1 subject
SELECT id, subject_version, generation, roles FROM session
WHERE subject = $1 AND ended_at IS NULL AND ends_at > clock_timestamp() ORDER BY id;
