-- Nothing leads: the trail backwards.
  and e.position >= z.zone * 4096 and e.position < (z.zone + 1) * 4096
order by e.position desc limit $9
) e
order by z.zone desc, e.position desc limit $9
