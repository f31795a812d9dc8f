-- Puts an event at its place. Needs lock_head.
-- $1 position  $2 id  $3 time  $4 received  $5 kind  $6 outcome  $7 subject  $8 acting user  $9 session  $10 its counter  $11 trace id
-- $12 body  $13 who brought it  $14 whether they may not have written it  $15 who acted, where that is no user
insert into events (
    position, zone, id, time, received, kind, outcome, subject, actor_user, session, session_counter, trace_id, body,
    proven_caller, wrong_producer, actor)
values ($1, $1 / 4096, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
