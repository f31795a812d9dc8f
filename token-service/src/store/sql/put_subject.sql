-- Stores a subject if it is newer than the one held (U2).
-- $1 id  $2 user_id  $3 version  $4 min_version  $5 excepted session  $6 active  $7 roles  $8 end reason
INSERT INTO subject (id, user_id, version, min_version, excepted_session, active, roles, end_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE
SET user_id = excluded.user_id, version = excluded.version, min_version = excluded.min_version,
    excepted_session = excluded.excepted_session, active = excluded.active, roles = excluded.roles, end_reason = excluded.end_reason
WHERE excluded.version > subject.version
RETURNING id;
