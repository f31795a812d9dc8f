-- Ends those that are not ended; where $3, only those past their end, where $4, only those idle for too long (S5, S12). All are locked
-- first, in the order of ids, and judged by the locked copies. One past its end that was not swept yet is ended by others too: a clock
-- that steps back must not revive it (T1).
-- $1 sessions  $2 reasons  $3 whether they must be past their end  $4 whether they must be idle  $5 the call that ends them (NULL: not told)
-- $6 how long past their idle ends (microseconds)
WITH wanted AS MATERIALIZED (
    SELECT id, reason, past_its_end, idle, called, margin
    FROM unnest(cast($1 AS uuid[]), cast($2 AS text[]), cast($3 AS boolean[]), cast($4 AS boolean[]), cast($5 AS uuid[]), cast($6 AS bigint[]))
         AS w (id, reason, past_its_end, idle, called, margin)
), locked AS MATERIALIZED (
    SELECT id, ends_at, ended_at, events, idle_at
    FROM session WHERE id IN (SELECT unnest(cast($1 AS uuid[]))) ORDER BY id FOR NO KEY UPDATE
), found AS MATERIALIZED (
    SELECT locked.*, clock_timestamp() AS now FROM locked
), decided AS MATERIALIZED (
    SELECT f.id, f.events, f.now, w.reason, w.called
    FROM found AS f JOIN wanted AS w ON w.id = f.id
    WHERE f.ended_at IS NULL AND (NOT w.past_its_end OR f.ends_at <= f.now) AND (NOT w.idle OR f.idle_at <= later(f.now, -w.margin))
)
UPDATE session AS s SET ended_at = d.now, end_reason = d.reason, events = d.events + 1, ended_by = d.called
FROM decided AS d WHERE s.id = d.id
RETURNING s.id, s.subject, s.events, s.access_until, s.ended_at, s.ends_at, s.generation, s.jti;
