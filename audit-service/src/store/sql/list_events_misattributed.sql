-- Events of the wrong producer are few: they have an index of their own.
  and e.zone = z.zone and e.wrong_producer = 1
order by z.zone desc, e.position desc limit $9
