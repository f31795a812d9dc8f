-- $1 name  $2 holder
UPDATE lease SET until = clock_timestamp() WHERE name = $1 AND holder = $2 AND until > clock_timestamp();
