-- $1 the trail's new size
update trail_head set size = $1 where one = 1
