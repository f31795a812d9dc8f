-- A predecessor's token that no table has, as the session that it is (L3): nothing where it is one already.
-- $1 id  $2 subject  $3 user_id  $4 subject's version  $5 jti  $6 roles  $7 created  $8 ends
INSERT INTO session (id, subject, user_id, subject_version, assertion_id, generation, jti, rotated_at, roles,
                     access_kid, refresh_kid, access_at, access_expires, access_until, access_roles, amr, acr, auth_time, created_at, ends_at, events)
VALUES ($1, $2, $3, $4, $1, 0, $5, $7, $6, '', '', $7, $7, $7, '[]', '["pwd"]', 'urn:carelink:acr:password', $7, $7, $8, 1)
ON CONFLICT (id) DO NOTHING
RETURNING id;
