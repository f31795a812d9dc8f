-- Before names and numbers are looked for that are free: nobody else gives one away until this transaction ends.
SELECT next, clock_timestamp() AS now FROM user_number;
