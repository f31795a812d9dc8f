-- The same password, hashed anew: only over the hash that it was verified against (C3).
-- $1 id  $2 hash verified  $3 new hash  $4 its cost class
UPDATE users SET password_hash = $3, cost_class = $4 WHERE id = $1 AND password_hash = $2 RETURNING id;
