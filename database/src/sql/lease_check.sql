-- $1 name  $2 holder  $3 epoch
SELECT epoch FROM lease WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > clock_timestamp();
