-- Says to every replica that keys are not what they were. Who changes keys does this first: one after the other.
UPDATE revocation_head SET keys = keys + 1 WHERE one = 1 RETURNING keys;
