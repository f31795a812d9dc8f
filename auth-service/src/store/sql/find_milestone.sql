-- $1 name
SELECT name FROM milestone WHERE name = $1;
