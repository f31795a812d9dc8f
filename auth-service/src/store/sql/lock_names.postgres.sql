-- Before names and numbers are looked for that are free: nobody else gives one away until this transaction ends.
WITH locked AS MATERIALIZED (SELECT next FROM user_number FOR NO KEY UPDATE)
SELECT next, clock_timestamp() AS now FROM locked;
