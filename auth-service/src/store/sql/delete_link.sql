-- A password was set: no link is good any more.
-- $1 id
DELETE FROM one_time_link WHERE id = $1;
