-- An event at its place.
-- $1 position
select position, received, body, proven_caller, wrong_producer from events where position = $1
