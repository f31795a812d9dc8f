-- Which column refers to which table.
SELECT c.relname, a.attname, f.relname
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'f' AND array_length(k.conkey, 1) = 1 AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY c.relname, a.attnum
