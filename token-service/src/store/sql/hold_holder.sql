-- Whether nobody has forgotten a user of a source. SQLite has one writer.
-- $1 source  $2 legacy id
SELECT subject FROM legacy_holder WHERE source = $1 AND legacy_id = $2;
