-- The columns of ?1 that are unique by themselves: the first of each unique index that has no second.
SELECT i.name
FROM pragma_index_list(?1) l
JOIN pragma_index_info(l.name) i
WHERE l."unique" AND NOT l.partial AND i.name IS NOT NULL AND (SELECT count(*) FROM pragma_index_info(l.name)) = 1
