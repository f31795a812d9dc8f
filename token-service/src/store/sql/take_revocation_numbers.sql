-- Taken last, so that numbers are without gaps in commit order (V1).
-- $1 how many
UPDATE revocation_head SET number = number + $1 WHERE one = 1 RETURNING number;
