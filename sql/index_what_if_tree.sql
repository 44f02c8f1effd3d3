-- Indexes that do not exist on partitioned tables, with inheritance, and of kinds that are not btree.
CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE SCHEMA what_if_tree;
SET search_path = what_if_tree;
SET timezone = 'UTC';
CREATE FUNCTION explain(query text, created text[] DEFAULT '{}', dropped regclass[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(line, ' +\(cost=.*', '') FROM architect.index_explain(query, created, dropped) AS line $$;

-- The partitions have their columns in different order, at different depth.
CREATE TABLE events (id int NOT NULL, kind int, note text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10000);
CREATE TABLE events_2 (note text, gone int, kind int, id int NOT NULL);
ALTER TABLE events_2 DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (10000) TO (20000);
CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20000) TO (40000) PARTITION BY LIST (kind);
CREATE TABLE events_3_all (kind int, id int NOT NULL, note text);
ALTER TABLE events_3 ATTACH PARTITION events_3_all DEFAULT;
INSERT INTO events SELECT i, i % 500, 'note ' || i FROM generate_series(0, 29999) AS i;
CREATE INDEX events_kind ON events (kind);
VACUUM ANALYZE events;

-- Each partition has an index, named as the server would name it.
SELECT explain('SELECT * FROM events WHERE note = $1', '{CREATE INDEX by_note ON events (note)}');
SELECT explain('SELECT * FROM events WHERE lower(note) = $1 AND id > 15000', '{CREATE INDEX ON events (lower(note)) WHERE id > 5}');
SELECT explain('SELECT * FROM events_2 WHERE note = $1', '{CREATE INDEX ON events (note)}');
SELECT indexes_used, index_sizes[1] > index_sizes[2] AS sum
FROM architect.index_what_if('SELECT * FROM events WHERE note = $1', '{CREATE INDEX a ON events (note), CREATE INDEX b ON events_1 (note)}');
SELECT explain('SELECT * FROM events WHERE kind = 7', '{}', '{events_kind}');
SELECT indexes_used
FROM architect.index_what_if('SELECT * FROM events WHERE kind = 7', '{}', ARRAY['events_1_kind_idx']::regclass[]);

-- Where a parameter chooses the partition, the plan shows all of them.
SELECT explain('SELECT * FROM events WHERE id = $1 AND note = $2', '{CREATE INDEX ON events (note)}');

-- An index of a parent in inheritance has its own rows alone.
CREATE TABLE parents (id int, kind int);
CREATE TABLE children (note text) INHERITS (parents);
INSERT INTO parents SELECT i, i % 500 FROM generate_series(1, 10000) AS i;
INSERT INTO children SELECT i, i % 500, 'child' FROM generate_series(1, 10000) AS i;
VACUUM ANALYZE parents, children;
SELECT explain('SELECT * FROM parents WHERE kind = $1', '{CREATE INDEX ON parents (kind)}');
SELECT explain('SELECT * FROM ONLY parents WHERE kind = $1', '{CREATE INDEX ON children (kind)}');
SELECT explain('SELECT * FROM parents WHERE kind = $1', '{CREATE INDEX ON children (kind), CREATE INDEX ON parents (kind)}');

-- Other kinds.
CREATE TABLE docs (id int, data jsonb, tags int[], words tsvector, during int4range, place point);
INSERT INTO docs
SELECT i, jsonb_build_object('sku', i), ARRAY[i % 100, i % 99], to_tsvector('simple', 'word' || i % 100), int4range(i, i + 5), point(i, i)
FROM generate_series(1, 10000) AS i;
VACUUM ANALYZE docs;
SELECT statement, indexes_used, index_sizes[1] BETWEEN 16384 AND 4000000 AS sized, error
FROM (VALUES ('data @> ''{"sku": 5}''', 'CREATE INDEX i ON docs USING gin (data)'),
             ('data @> ''{"sku": 5}''', 'CREATE INDEX i ON docs USING gin (data jsonb_path_ops)'),
             ('tags @> ARRAY[5]', 'CREATE INDEX i ON docs USING gin (tags)'),
             ('tags @> ARRAY[5] AND words @@ ''word5''', 'CREATE INDEX i ON docs USING gin (tags, words) WHERE id > 5'),
             ('words @@ ''word5''', 'CREATE INDEX i ON docs USING gist (words)'),
             ('during && int4range(5, 9)', 'CREATE INDEX i ON docs USING gist (during)'),
             ('during @> 5', 'CREATE INDEX i ON docs USING spgist (during)'),
             ('id = 5', 'CREATE INDEX i ON docs USING hash (id)'),
             ('id = 5', 'CREATE INDEX i ON docs USING brin (id) WITH (pages_per_range = 4)'),
             ('(data ->> ''sku'')::int = 5', 'CREATE INDEX i ON docs (((data ->> ''sku'')::int))'),
             ('id = 5', 'CREATE INDEX i ON docs ((1 / (id - 5)))')) AS kinds(condition, statement),
    architect.index_what_if('SELECT * FROM docs WHERE id > 5 AND ' || condition, ARRAY[statement]);
SELECT explain('SELECT * FROM docs ORDER BY place <-> point(5, 5) LIMIT 3', '{CREATE INDEX ON docs USING gist (place)}');
SELECT explain('SELECT during FROM docs WHERE during @> 5', '{CREATE INDEX ON docs USING gist (during)}');

-- Of a table that has just been filled nothing is known but its size; of an empty one, not that.
CREATE TABLE fresh AS SELECT i AS id, i % 100 AS kind FROM generate_series(1, 50000) AS i;
CREATE TABLE empty (id int, kind int);
SELECT indexes_used, index_sizes[1] BETWEEN 500000 AND 2500000 AS sized, error
FROM architect.index_what_if('SELECT * FROM fresh WHERE id = $1', '{CREATE INDEX i ON fresh (id)}');
SELECT index_sizes[1] BETWEEN 8192 AND 200000 AS sized, error
FROM architect.index_what_if('SELECT * FROM empty WHERE id = $1 AND lower(kind::text) = $2',
    ARRAY['CREATE INDEX i ON empty (id, lower(kind::text)) WHERE id > 5']);

DROP SCHEMA what_if_tree CASCADE;
DROP EXTENSION pg_architect;
