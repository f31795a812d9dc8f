-- Another life of this database (R1). $1 which
UPDATE revocation_head SET incarnation = $1 WHERE one = 1;
