-- What every list has in common; what leads to its rows, and their order, follow from the file beside.
-- $1 before this position  $2 not before, $3 before this time  $4 from, $5 below this kind  $6 outcome, or 0
-- $7 session or null  $8 user or null  $9 limit  $10 actor that is no user or null  $11 only those of the wrong producer
-- (`+ 0` and `'' ||` keep these bounds from looking like the best way in: zones and what leads are better.)
select e.position, e.received, e.body, e.proven_caller, e.wrong_producer
from zones z cross join events e
where z.zone <= $1 / 4096 and z.latest >= $2 and z.earliest < $3
  and e.position + 0 < $1
  and e.time >= $2 and e.time < $3
  and '' || e.kind >= $4 and '' || e.kind < $5
  and ($6 = 0 or e.outcome = $6)
  and coalesce($7, e.session) is not distinct from e.session
  and (coalesce($8, e.subject) is not distinct from e.subject or e.actor_user = $8)
  and coalesce($10, e.actor) is not distinct from e.actor
  and (e.wrong_producer or not $11)
