-- Widens a zone's time by what was appended to it, and moves the head. Needs lock_head.
-- $1 zone  $2 earliest  $3 latest  $4 the trail's new size
insert into zones (zone, earliest, latest) values ($1, $2, $3)
on conflict (zone) do update set
    earliest = case when excluded.earliest < zones.earliest then excluded.earliest else zones.earliest end,
    latest = case when excluded.latest > zones.latest then excluded.latest else zones.latest end;
update trail_head set size = $4 where one = 1;
