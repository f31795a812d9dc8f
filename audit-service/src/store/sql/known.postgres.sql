-- Which events are in the trail. Needs lock_head, so that nobody adds one meanwhile.
-- (One by one through the index: a plan made while the trail was short would read all of it.)
-- $1 ids
select known.id
from unnest(cast($1 as uuid[])) as asked (id) cross join lateral (select id from events where events.id = asked.id offset 0) known
