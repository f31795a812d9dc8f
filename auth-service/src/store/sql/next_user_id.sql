-- The next number of our range; an imported user may have it already (U4).
UPDATE user_number SET next = next + 1 RETURNING next - 1 AS user_id;
