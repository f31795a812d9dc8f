-- The row is locked: nobody takes the lease while the transaction that depends on it is open.
-- $1 name  $2 holder  $3 epoch
SELECT epoch FROM lease WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > clock_timestamp() FOR SHARE;
