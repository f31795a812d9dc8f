-- What is here of a predecessor's token.
-- $1 session
SELECT id, generation, ended_at FROM session WHERE id = $1;
