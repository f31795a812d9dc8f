-- A key that is published and signs nothing yet; where $5, one that signs.
-- $1 kid  $2 purpose  $3 rank  $4 sealed  $5 whether it signs
INSERT INTO signing_key (kid, purpose, rank, sealed, created_at, signs_from)
VALUES ($1, $2, $3, $4, clock_timestamp(), CASE WHEN $5 THEN clock_timestamp() END);
