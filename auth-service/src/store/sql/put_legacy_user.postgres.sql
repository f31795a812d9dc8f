-- Arrays of:
-- $1 source  $2 legacy id  $3 id  $4 name  $5 e-mail  $6 full name  $7 SHA-256 of the hash  $8 active  $9 roles  $10 admin  $11 last sign-in
INSERT INTO legacy_user (source, legacy_id, id, username, email, full_name, hash_digest, active, roles, admin, last_login_at)
SELECT * FROM unnest(
    cast($1 AS text[]), cast($2 AS bigint[]), cast($3 AS uuid[]), cast($4 AS text[]), cast($5 AS text[]), cast($6 AS text[]),
    cast($7 AS bytea[]), cast($8 AS boolean[]), cast($9 AS text[]), cast($10 AS boolean[]), cast($11 AS timestamptz[])
)
ON CONFLICT (source, legacy_id) DO UPDATE
SET username = excluded.username, email = excluded.email, full_name = excluded.full_name, hash_digest = excluded.hash_digest,
    active = excluded.active, roles = excluded.roles, admin = excluded.admin, last_login_at = excluded.last_login_at;
