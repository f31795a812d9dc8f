-- Blacklisted tokens, where no rotation of the source has left a successor. SimpleJWT records successors since 5.5.0;
-- its migration 0013 (5.5.1) says that the source is not older. Both blacklisting and successor happen at one moment.
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM django_migrations WHERE app = 'token_blacklist' AND name LIKE '0013!_%' ESCAPE '!') THEN 0
    WHEN NOT EXISTS (SELECT 1 FROM django_migrations WHERE app = 'token_blacklist') THEN 0
    WHEN EXISTS (
        SELECT 1 FROM (SELECT token_id, blacklisted_at FROM {blacklisted} ORDER BY id DESC LIMIT 1000) b
        JOIN {outstanding} old ON old.id = b.token_id
        JOIN {outstanding} new ON new.user_id = old.user_id AND new.id > old.id
        WHERE {apart} < 5
    ) THEN 0
    ELSE (SELECT count(*) FROM {blacklisted})
END
