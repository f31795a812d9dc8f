-- Takes the one lock of the trail, in a statement of its own: what the next one reads is what is there once it is held (A4).
-- The clock is read when it is.
with locked as materialized (select size from trail_head where one = 1 for update)
select size, clock_timestamp() as now from locked
