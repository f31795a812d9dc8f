-- $1 ids, a JSON list
DELETE FROM outbox WHERE id IN (SELECT cast(value AS bigint) FROM json_array_elements_text(cast(cast($1 AS text) AS json)));
