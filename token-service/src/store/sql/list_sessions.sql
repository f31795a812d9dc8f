-- A page of all, newest first. $1 also ended  $2 created before  $3 id before  $4 at most
SELECT id, subject, user_id, generation, roles, amr, rotated_at, created_at, ends_at, ended_at, end_reason, active_at, idle_at, cookies,
       device, network
FROM session
WHERE ($1 OR (ended_at IS NULL AND ends_at > clock_timestamp())) AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4;
