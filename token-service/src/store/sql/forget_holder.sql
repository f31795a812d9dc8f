-- Of a subject no token is believed any longer that was not imported.
-- $1 subject
DELETE FROM legacy_holder WHERE subject = $1;
