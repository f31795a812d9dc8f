-- Remembers a sealing key; returns a row if it is new here.
-- $1 key id
insert into sealing_keys (key_id, seen_at) values ($1, clock_timestamp())
on conflict (key_id) do nothing
returning key_id
