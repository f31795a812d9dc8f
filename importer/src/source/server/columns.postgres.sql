-- The columns of all tables that are found without naming a schema: table, name, type, whether it is the primary key, whether unique.
SELECT c.relname, a.attname, lower(pg_catalog.format_type(a.atttypid, a.atttypmod)),
       CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey))
            THEN 1 ELSE 0 END,
       CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                         WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indnatts = 1 AND a.attnum = ANY (i.indkey))
            THEN 1 ELSE 0 END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND pg_catalog.pg_table_is_visible(c.oid)
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
