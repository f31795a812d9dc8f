-- The session leads. $12 session
  and e.zone = z.zone and e.session = $12
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
