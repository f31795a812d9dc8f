-- Tables whose engine knows no transactions.
SELECT t.table_name
FROM information_schema.tables t
JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = database() AND t.table_type = 'BASE TABLE' AND coalesce(e.transactions, 'NO') <> 'YES'
ORDER BY t.table_name
