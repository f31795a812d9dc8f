-- $1 id
SELECT id, user_id, version, min_version, excepted_session, active, roles, end_reason FROM subject WHERE id = $1;
