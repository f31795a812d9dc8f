-- Whether nobody has forgotten a user of a source; whoever is about to waits.
-- $1 source  $2 legacy id
SELECT subject FROM legacy_holder WHERE source = $1 AND legacy_id = $2 FOR UPDATE;
