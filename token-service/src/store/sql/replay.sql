-- Records that a pair was handed out again, with its event; one whose access token has run out, or was signed by a key that is
-- gone, gets a fresh one for the same generation (S6). A session that has moved on meanwhile only counts the event.
-- $1 session  $2 generation  $3 access lifetime (microseconds)  $4 access key  $5 event id  $6 event  $7 whether the key is gone
UPDATE session
SET events = events + 1,
    access_kid = CASE WHEN generation = $2 AND ($7 OR access_expires <= clock_timestamp()) THEN $4 ELSE access_kid END,
    access_roles = CASE WHEN generation = $2 AND ($7 OR access_expires <= clock_timestamp()) THEN roles ELSE access_roles END,
    access_at = CASE WHEN generation = $2 AND ($7 OR access_expires <= clock_timestamp())
                     THEN clock_timestamp() - clock_timestamp() % 1000000 ELSE access_at END,
    access_expires = CASE WHEN generation = $2 AND ($7 OR access_expires <= clock_timestamp())
                          THEN min(later(clock_timestamp() - clock_timestamp() % 1000000, $3), ends_at) ELSE access_expires END,
    access_until = CASE WHEN generation = $2 AND ($7 OR access_expires <= clock_timestamp())
                        THEN max(access_until, min(later(clock_timestamp() - clock_timestamp() % 1000000, $3), ends_at))
                        ELSE access_until END
WHERE id = $1 AND generation >= $2 AND ended_at IS NULL AND ends_at > clock_timestamp();

INSERT INTO outbox (destination, event_id, subject, session, counter, body, created_at)
SELECT 'audit', $5, subject, id, events, $6, clock_timestamp()
FROM session WHERE id = $1 AND generation >= $2 AND ended_at IS NULL AND ends_at > clock_timestamp();

SELECT id, subject, user_id, generation, jti, previous_jti, rotated_at, roles, access_kid, refresh_kid, access_at, access_expires, access_roles,
       amr, acr, auth_time, created_at, ends_at, ended_at, end_reason, refused_generation,
       rotated_by, cookies, seen_generation
FROM session WHERE id = $1 AND generation >= $2 AND ended_at IS NULL AND ends_at > clock_timestamp();
