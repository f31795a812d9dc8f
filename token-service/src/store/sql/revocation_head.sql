-- How far revocations and keys have come, whose stream it is, and the pulse (T5).
SELECT h.number AS number, h.incarnation AS incarnation, h.keys AS keys, p.beats AS beats, p.beaten_at AS beaten_at, clock_timestamp() AS now
FROM revocation_head AS h CROSS JOIN pulse AS p WHERE h.one = 1 AND p.one = 1;
