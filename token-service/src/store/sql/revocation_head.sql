SELECT number, clock_timestamp() AS now FROM revocation_head WHERE one = 1;
