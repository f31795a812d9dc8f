-- What is here of predecessors' tokens, locked in the order of ids (S11).
-- $1 sessions
SELECT id, generation, ended_at FROM session WHERE id IN (SELECT unnest(cast($1 AS uuid[]))) ORDER BY id FOR NO KEY UPDATE;
