SELECT name, algorithm, sealed_key, accepted_until FROM source WHERE sealed_key IS NOT NULL ORDER BY name;
