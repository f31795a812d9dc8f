-- The trace leads. $12 trace id
  and e.zone = z.zone and e.trace_id = $12
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
