-- The user leads, as whom it concerns or who did it. $12 user
  and e.position in (
      select s.position from events s where s.zone = z.zone and s.subject = $12
      union all
      select a.position from events a where a.zone = z.zone and a.actor_user = $12)
order by z.zone desc, e.position desc limit $9
