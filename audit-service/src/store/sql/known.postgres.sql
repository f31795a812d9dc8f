-- Which events are in the trail. Needs lock_head, so that nobody adds one meanwhile.
-- $1 ids
select id from events where id = any (cast($1 as uuid[]))
