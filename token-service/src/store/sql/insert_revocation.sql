-- $1 number  $2 session  $3 generation (NULL: all)  $4 until
INSERT INTO revocation (number, session, generation, until) VALUES ($1, $2, $3, $4);
