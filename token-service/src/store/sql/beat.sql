-- The pulse (T5). A gap is an outage; one that begins while grace still runs from the end of the last goes on with it.
-- $1 the longest gap that is none (microseconds)  $2 grace (microseconds)
UPDATE pulse
SET outage_began = CASE WHEN clock.now <= later(beaten_at, $1) OR beaten_at IS NULL THEN outage_began
                        WHEN beaten_at <= later(outage_ended, $2) THEN outage_began
                        ELSE beaten_at END,
    outage_ended = CASE WHEN clock.now > later(beaten_at, $1) THEN clock.now ELSE outage_ended END,
    beaten_at = clock.now,
    beats = beats + 1
FROM (SELECT clock_timestamp() AS now) AS clock
WHERE one = 1
RETURNING beaten_at, outage_began, outage_ended;
