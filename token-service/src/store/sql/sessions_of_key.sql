-- Sessions that go on by a refresh token of this key. $1 kid  $2 at most
SELECT id FROM session WHERE refresh_kid = $1 AND ended_at IS NULL ORDER BY id LIMIT $2;
