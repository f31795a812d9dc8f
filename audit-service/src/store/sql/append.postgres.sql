-- Puts events at their places. Needs lock_head. Arrays of:
-- $1 position  $2 id  $3 time  $4 received  $5 kind  $6 outcome  $7 subject  $8 acting user  $9 session  $10 its counter  $11 trace id
-- $12 body
insert into events (position, zone, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body)
select position, position / 4096, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body
from unnest(
    cast($1 as bigint[]), cast($2 as uuid[]), cast($3 as timestamptz[]), cast($4 as timestamptz[]), cast($5 as text[]), cast($6 as bigint[]),
    cast($7 as uuid[]), cast($8 as uuid[]), cast($9 as uuid[]), cast($10 as bigint[]), cast($11 as bytea[]), cast($12 as bytea[])
) as new (position, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body)
