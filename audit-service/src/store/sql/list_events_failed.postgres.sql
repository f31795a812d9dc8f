-- Failures are few: they have an index of their own.
  and e.zone = z.zone and e.outcome = 2
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
