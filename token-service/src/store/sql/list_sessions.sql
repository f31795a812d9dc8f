-- A page, newest first. $1 subject (NULL: all)  $2 also ended  $3 created before  $4 id before  $5 at most
SELECT id, subject, user_id, generation, roles, amr, rotated_at, created_at, ends_at, ended_at, end_reason
FROM session
WHERE ($1 IS NULL OR subject = $1) AND ($2 OR (ended_at IS NULL AND ends_at > clock_timestamp())) AND (created_at, id) < ($3, $4)
ORDER BY created_at DESC, id DESC LIMIT $5;
