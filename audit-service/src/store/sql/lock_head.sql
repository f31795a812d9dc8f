-- Takes the one lock of the trail, in a statement of its own: what the next one reads is what is there once it is held (A4).
update trail_head set size = size where one = 1 returning size, clock_timestamp() as now
