-- All of them: after a restore, what they signed is worth nothing (R1).
DELETE FROM signing_key;
