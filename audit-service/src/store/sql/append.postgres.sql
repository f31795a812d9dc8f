-- Puts events at their places. Needs lock_head. Arrays of:
-- $1 position  $2 id  $3 time  $4 received  $5 kind  $6 outcome  $7 subject  $8 acting user  $9 session  $10 its counter  $11 trace id
-- $12 body  $13 who brought it  $14 whether they may not have written it  $15 who acted, where that is no user
insert into events (
    position, zone, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body,
    proven_caller, wrong_producer, actor)
select position, position / 4096, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body,
    proven_caller, wrong_producer, actor
from unnest(
    cast($1 as bigint[]), cast($2 as uuid[]), cast($3 as timestamptz[]), cast($4 as timestamptz[]), cast($5 as text[]), cast($6 as bigint[]),
    cast($7 as uuid[]), cast($8 as uuid[]), cast($9 as uuid[]), cast($10 as bigint[]), cast($11 as bytea[]), cast($12 as bytea[]),
    cast($13 as text[]), cast($14 as boolean[]), cast($15 as text[])
) as new (
    position, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body,
    proven_caller, wrong_producer, actor)
