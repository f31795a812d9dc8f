-- The trace leads. $10 trace id
  and e.zone = z.zone and e.trace_id = $10
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
