-- Whom a name or an e-mail address signs in (C1), if a letter can reach them.
-- $1 as typed
SELECT id FROM users WHERE username = $1 AND active AND email <> ''
UNION ALL
SELECT id FROM users
WHERE email = $1 AND email <> '' AND active
  AND NOT EXISTS (SELECT 1 FROM users WHERE username = $1)
  AND (SELECT count(*) FROM users WHERE email = $1 AND email <> '' AND active) = 1;
