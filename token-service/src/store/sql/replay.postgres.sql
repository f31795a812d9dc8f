-- Records that a pair was handed out again, with its event; one whose access token has run out, or was signed by a key that is
-- gone, gets a fresh one for the same generation (S6). A session that has moved on meanwhile only counts the event.
-- $1 session  $2 generation  $3 access lifetime (microseconds)  $4 access key  $5 event id  $6 event  $7 whether the key is gone
WITH locked AS MATERIALIZED (
    SELECT id, generation, roles, access_kid, access_at, access_expires, access_until, access_roles, ends_at, ended_at, events
    FROM session WHERE id = $1 FOR NO KEY UPDATE
), found AS MATERIALIZED (
    SELECT locked.*, clock_timestamp() AS now FROM locked
), decided AS MATERIALIZED (
    SELECT found.*, date_trunc('second', now) AS iat, least(later(date_trunc('second', now), $3), ends_at) AS exp,
           generation = $2 AND ($7 OR access_expires <= now) AS renews
    FROM found WHERE generation >= $2 AND ended_at IS NULL AND ends_at > now
), recorded AS (
    UPDATE session AS s
    SET events = d.events + 1,
        access_kid = CASE WHEN d.renews THEN $4 ELSE d.access_kid END,
        access_roles = CASE WHEN d.renews THEN d.roles ELSE d.access_roles END,
        access_at = CASE WHEN d.renews THEN d.iat ELSE d.access_at END,
        access_expires = CASE WHEN d.renews THEN d.exp ELSE d.access_expires END,
        access_until = CASE WHEN d.renews THEN greatest(d.access_until, d.exp) ELSE d.access_until END
    FROM decided AS d WHERE s.id = $1
    RETURNING s.*, d.now AS now
), event AS (
    INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
    SELECT 'audit', $5, subject, id, events, $6, now FROM recorded
)
SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation
FROM recorded;
