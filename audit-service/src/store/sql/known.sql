-- Whether an event is in the trail. Needs lock_head, so that nobody adds it meanwhile.
-- $1 id
select id from events where id = $1
