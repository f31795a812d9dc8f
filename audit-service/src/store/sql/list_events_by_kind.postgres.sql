-- The kind leads.
  and e.zone = z.zone and e.kind >= $4 and e.kind < $5
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
