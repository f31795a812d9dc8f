-- The next numbers of our range; imported users may have some of them already (U4).
-- $1 how many
UPDATE user_number SET next = next + $1 RETURNING next - $1 AS first;
