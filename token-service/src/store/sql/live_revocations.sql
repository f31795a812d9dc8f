-- What a verifier must know to begin with; the head and the pulse are read in the same statement.
SELECT head.number AS head, head.incarnation AS incarnation, head.keys AS keys, pulse.beats AS beats, pulse.beaten_at AS beaten_at,
       clock_timestamp() AS now,
       r.number AS number, r.session AS session, r.generation AS generation, r.until AS until, r.revoked_at AS revoked_at
FROM revocation_head AS head CROSS JOIN pulse LEFT JOIN revocation AS r ON r.until > (SELECT clock_timestamp())
WHERE head.one = 1 AND pulse.one = 1 ORDER BY r.number;
