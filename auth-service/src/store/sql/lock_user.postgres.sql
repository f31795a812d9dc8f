-- As it is once nobody else is changing it, for a change in the same transaction. The clock is read when the lock is held.
-- $1 id
WITH locked AS MATERIALIZED (
    SELECT password_hash, id, user_id, username, email, full_name, active, active_set_here, roles, version, min_version, excepted_session, end_reason,
       password_form, cost_class, password_set_here, password_changed_at, last_sign_in_at, created_at, source
    FROM users WHERE id = $1 FOR NO KEY UPDATE
)
SELECT *, clock_timestamp() AS now FROM locked;
