-- Every key, and which of their changes was the last.
SELECT k.kid AS kid, k.purpose AS purpose, k.rank AS rank, k.sealed AS sealed, k.created_at AS created_at, k.signs_from AS signs_from,
       k.retired_at AS retired_at, k.asked_at AS asked_at, h.keys AS version, clock_timestamp() AS now
FROM revocation_head AS h LEFT JOIN signing_key AS k ON true
WHERE h.one = 1 ORDER BY k.purpose, k.rank, k.kid;
