-- What every list has in common; what leads to its rows, and their order, follow from the file beside.
-- $1 before this position  $2 not before, $3 before this time  $4 from, $5 below this kind  $6 outcome, or 0
-- $7 session or null  $8 user or null  $9 limit  $10 actor that is no user or null  $11 only those of the wrong producer
-- One zone after the other, newest first, each by an index that begins with it.
-- (`+ 0` and `'' ||` keep these bounds from looking like the best way in: zones and what leads are better.)
select e.position, e.received, e.body, e.proven_caller, e.wrong_producer
from (
    select zone from zones where zone <= $1 / 4096 and latest >= $2 and earliest < $3 order by zone desc
) z cross join lateral (
    select e.position, e.received, e.body, e.proven_caller, e.wrong_producer
    from events e
    where e.position + 0 < $1
      and e.time >= $2 and e.time < $3
      and '' || e.kind >= $4 and '' || e.kind < $5
      and (cast($6 as bigint) = 0 or e.outcome = cast($6 as bigint))
      and (cast($7 as uuid) is null or e.session = cast($7 as uuid))
      and (cast($8 as uuid) is null or e.subject = cast($8 as uuid) or e.actor_user = cast($8 as uuid))
      and (cast($10 as text) is null or e.actor = cast($10 as text))
      and (e.wrong_producer or not cast($11 as boolean))
