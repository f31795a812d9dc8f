-- Predecessors' outstanding tokens as sessions (L3). They have no pair of ours yet: what they were minted with is empty.
-- $1 ids  $2 subjects  $3 user_ids  $4 subjects' versions  $5 jtis  $6 roles  $7 created  $8 ends  $9 ended (NULL: live)  $10 end reasons
INSERT INTO session (id, subject, user_id, subject_version, assertion_id, generation, jti, rotated_at, roles,
                     access_kid, refresh_kid, access_at, access_expires, access_until, access_roles, amr, acr, auth_time, created_at, ends_at,
                     ended_at, end_reason, events)
SELECT id, subject, user_id, subject_version, id, 0, jti, created, roles,
       '', '', created, created, created, '[]', '["pwd"]', 'urn:carelink:acr:password', created, created, ends, ended, end_reason, 0
FROM unnest(cast($1 AS uuid[]), cast($2 AS uuid[]), cast($3 AS bigint[]), cast($4 AS bigint[]), cast($5 AS bytea[]), cast($6 AS text[]),
            cast($7 AS timestamptz[]), cast($8 AS timestamptz[]), cast($9 AS timestamptz[]), cast($10 AS text[]))
     AS w (id, subject, user_id, subject_version, jti, roles, created, ends, ended, end_reason)
ORDER BY id
ON CONFLICT (id) DO NOTHING;
