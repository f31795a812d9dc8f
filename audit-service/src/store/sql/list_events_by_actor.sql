-- The actor leads, where that is no user. $12 actor
  and e.zone = z.zone and e.actor = $12
order by z.zone desc, e.position desc limit $9
