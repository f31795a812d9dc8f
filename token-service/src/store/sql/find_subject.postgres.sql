-- Locked in the order of ids (S11), as they are by then.
-- $1 ids
SELECT id, user_id, version, min_version, excepted_session, active, roles, end_reason
FROM subject WHERE id IN (SELECT unnest(cast($1 AS uuid[]))) ORDER BY id FOR NO KEY UPDATE;
