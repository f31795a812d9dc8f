-- A session that this very call signed out of, sent before.
-- $1 session  $2 call
SELECT s.generation AS generation, s.jti AS jti, s.ends_at AS ends_at, s.ended_at AS ended_at, h.number AS revocation
FROM session AS s CROSS JOIN revocation_head AS h WHERE s.id = $1 AND s.ended_by = $2 AND h.one = 1;
