-- Stores subjects that are newer than those held (U2), in the order of ids.
-- $1 ids  $2 user_ids  $3 versions  $4 min_versions  $5 excepted sessions  $6 active  $7 roles  $8 end reasons
INSERT INTO subject (id, user_id, version, min_version, excepted_session, active, roles, end_reason)
SELECT id, user_id, version, min_version, excepted_session, active, roles, end_reason
FROM unnest(cast($1 AS uuid[]), cast($2 AS bigint[]), cast($3 AS bigint[]), cast($4 AS bigint[]), cast($5 AS uuid[]),
            cast($6 AS boolean[]), cast($7 AS text[]), cast($8 AS text[]))
     AS w (id, user_id, version, min_version, excepted_session, active, roles, end_reason)
ORDER BY id
ON CONFLICT (id) DO UPDATE
SET user_id = excluded.user_id, version = excluded.version, min_version = excluded.min_version,
    excepted_session = excluded.excepted_session, active = excluded.active, roles = excluded.roles, end_reason = excluded.end_reason
WHERE excluded.version > subject.version
RETURNING id;
