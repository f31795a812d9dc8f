-- Puts an event at the end of the trail, unless it is there already; returns where it lies, or no row. Needs lock_head.
-- $1 id  $2 time  $3 received  $4 kind  $5 outcome  $6 subject  $7 acting user  $8 session  $9 its counter  $10 trace id  $11 body
insert into events (position, zone, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body)
select n.position, n.position / 4096, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
from (select coalesce(max(position), 0) + 1 as position from events) as n
where not exists (select 1 from events where id = $1)
returning position, zone, time
