-- $1 kid  $2 purpose  $3 rank  $4 sealed
INSERT INTO signing_key (kid, purpose, rank, sealed, created_at) VALUES ($1, $2, $3, $4, clock_timestamp());
