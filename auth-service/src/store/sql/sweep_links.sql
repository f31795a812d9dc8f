-- Forgets links that have run out, and what was asked for longer than an hour ago.
-- $1 how many rows at a time
DELETE FROM one_time_link WHERE id IN (SELECT id FROM one_time_link WHERE expires_at < clock_timestamp() LIMIT $1);
DELETE FROM link_request WHERE about IN (
    SELECT about FROM link_request WHERE began_at < later(clock_timestamp(), -3600000000) ORDER BY began_at LIMIT $1
);
