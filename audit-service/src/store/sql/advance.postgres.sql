-- Widens zones' time by what was appended to them, and moves the head. Needs lock_head. Arrays of:
-- $1 zone  $2 earliest  $3 latest  $4 the trail's new size
with widened as (
    insert into zones (zone, earliest, latest)
    select * from unnest(cast($1 as bigint[]), cast($2 as timestamptz[]), cast($3 as timestamptz[]))
    on conflict (zone) do update
    set earliest = least(excluded.earliest, zones.earliest), latest = greatest(excluded.latest, zones.latest)
)
update trail_head set size = (select max(new) from unnest(cast($4 as bigint[])) as size (new)) where one = 1
