-- The columns of all tables of the database: table, name, type, whether it is the primary key, whether unique.
SELECT c.table_name, c.column_name, lower(c.column_type),
       CASE WHEN c.column_key = 'PRI' THEN 1 ELSE 0 END, CASE WHEN c.column_key = 'UNI' THEN 1 ELSE 0 END
FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = database() AND t.table_type = 'BASE TABLE'
ORDER BY c.table_name, c.ordinal_position
