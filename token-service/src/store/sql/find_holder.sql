-- A user of a source, of this incarnation of the stream, and what is known of the source. No lock: the subject comes first (S11).
-- $1 source  $2 legacy id
SELECT h.subject, h.version, s.imported_at, s.accepted_until
FROM legacy_holder h
JOIN source s ON s.name = h.source
JOIN revocation_head r ON r.incarnation = h.incarnation
WHERE h.source = $1 AND h.legacy_id = $2 AND s.imported_at IS NOT NULL;
