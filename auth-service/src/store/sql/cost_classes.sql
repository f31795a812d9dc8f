-- Which classes of hashes there are: one step down the index for each.
WITH RECURSIVE class (name) AS (
    SELECT min(cost_class) FROM users WHERE cost_class IS NOT NULL
    UNION ALL
    SELECT (SELECT min(cost_class) FROM users WHERE cost_class IS NOT NULL AND cost_class > class.name) FROM class WHERE class.name IS NOT NULL
)
SELECT name FROM class WHERE name IS NOT NULL;
