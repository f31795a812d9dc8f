-- $1 id  $2 name  $3 e-mail  $4 full name  $5 last sign-in in the source
UPDATE users
SET look = CASE WHEN username = $2 THEN look END, username = $2, email = $3, full_name = $4,
    last_sign_in_at = CASE WHEN last_sign_in_at IS NULL OR last_sign_in_at < $5 THEN $5 ELSE last_sign_in_at END
WHERE id = $1;
