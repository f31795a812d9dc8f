-- $1 name
SELECT name, accepted_until FROM source WHERE name = $1;
