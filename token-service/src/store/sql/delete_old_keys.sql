-- Retired keys go after the last token they signed: of access tokens after the longest life of one, of refresh tokens when no session
-- is left that began before. A replica that has not heard of it yet may go on signing for a moment: hence some time is added.
-- $1 the longest life of an access token, and some  $2 some (microseconds)
DELETE FROM signing_key
WHERE retired_at IS NOT NULL AND (
    (purpose = 'access' AND retired_at <= later(clock_timestamp(), -cast($1 AS bigint))
     AND NOT EXISTS (SELECT 1 FROM session AS s WHERE s.created_at <= later(retired_at, $2) AND s.access_kid = kid
                     AND s.access_expires > clock_timestamp()))
    OR (purpose = 'refresh' AND retired_at <= later(clock_timestamp(), -cast($2 AS bigint))
        AND NOT EXISTS (SELECT 1 FROM session AS s WHERE s.created_at <= later(retired_at, $2))))
RETURNING kid;
