-- What statements change is read off their plans, and how many entries an index gets of it.

CREATE EXTENSION pg_architect;
CREATE SCHEMA index_write;
SET search_path = index_write;

CREATE TABLE iw_items (id integer PRIMARY KEY, a integer, b integer, c text, d integer GENERATED ALWAYS AS (b * 2) STORED)
    WITH (autovacuum_enabled = off);
INSERT INTO iw_items SELECT n, n, n % 10, 'c' || n FROM generate_series(1, 1000) AS n;
CREATE TABLE iw_source AS SELECT n AS id, n % 7 AS v FROM generate_series(1, 500) AS n;
CREATE VIEW iw_view AS SELECT id AS number, a AS amount FROM iw_items WHERE b < 100;
CREATE TABLE iw_whole (id integer, a integer, b integer) PARTITION BY RANGE (id);
CREATE TABLE iw_one (b integer, gone integer, a integer, id integer);
ALTER TABLE iw_one DROP COLUMN gone;
ALTER TABLE iw_whole ATTACH PARTITION iw_one FOR VALUES FROM (0) TO (400);
CREATE TABLE iw_two PARTITION OF iw_whole FOR VALUES FROM (400) TO (1000);
INSERT INTO iw_whole SELECT n, n, n FROM generate_series(0, 999) AS n;
CREATE TABLE iw_parent (id integer, a integer);
CREATE TABLE iw_child () INHERITS (iw_parent);
INSERT INTO iw_parent SELECT n, n FROM generate_series(1, 100) AS n;
INSERT INTO iw_child SELECT n, n FROM generate_series(1, 300) AS n;
CREATE UNLOGGED TABLE iw_unlogged (id integer);
ANALYZE iw_items, iw_source, iw_whole, iw_one, iw_two, iw_parent, iw_child, iw_unlogged;

CREATE FUNCTION written(index text, VARIADIC queries text[])
    RETURNS TABLE (query text, entries numeric, lost_hot numeric, has_cost boolean, has_wal boolean)
BEGIN ATOMIC
    SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 70), round(written.entries::numeric, 1),
           round(written.lost_hot::numeric, 1), written.cost > 0, written.wal_bytes > 0
    FROM unnest(queries) WITH ORDINALITY AS given (query, number),
         architect._index_write_cost('CREATE INDEX ON ' || index, query) AS written
    ORDER BY number;
END;

-- Rows that are inserted, by whatever statement.
SELECT * FROM written('iw_items (a)',
    'INSERT INTO iw_items (id, a) VALUES ($1, $2)',
    'INSERT INTO iw_items (id, a) VALUES (1001, 1), (1002, 2), (1003, 3)',
    'INSERT INTO iw_items (id, a) SELECT id, v FROM iw_source',
    'INSERT INTO iw_view VALUES (1, 1)',
    'WITH moved AS (INSERT INTO iw_items (id) SELECT id FROM iw_source RETURNING id) SELECT count(*) FROM moved',
    'INSERT INTO iw_items (id) VALUES (1) ON CONFLICT DO NOTHING',
    'INSERT INTO iw_source VALUES (1)',
    'SELECT * FROM iw_items');

-- An update adds an entry where it sets what is in the index, and else where it is not heap-only.
SELECT * FROM written('iw_items (a) INCLUDE (c)',
    'UPDATE iw_items SET a = 1',
    'UPDATE iw_items SET c = $1 WHERE id = $2',
    'UPDATE iw_items SET b = 1',
    'UPDATE iw_items SET id = id + 1000, b = 1',
    'UPDATE iw_view SET amount = 1',
    'UPDATE iw_items SET a = v FROM iw_source WHERE iw_source.id = iw_items.id',
    'WITH changed AS (UPDATE iw_items SET a = 1 RETURNING b) INSERT INTO iw_items (id) SELECT b FROM changed');
SELECT * FROM written('iw_items (lower(c))', 'UPDATE iw_items SET a = 1', 'UPDATE iw_items SET c = 1');
SELECT * FROM written('iw_items (a) WHERE b = 5', 'UPDATE iw_items SET b = 1', 'INSERT INTO iw_items (id) SELECT id FROM iw_source');
SELECT * FROM written('iw_items (d)', 'UPDATE iw_items SET a = 1', 'UPDATE iw_items SET b = 1');

-- Whether a row is inserted or updated is known when it is done: it is half each.
SELECT * FROM written('iw_items (a)',
    'INSERT INTO iw_items (id, a) SELECT id, v FROM iw_source ON CONFLICT (id) DO UPDATE SET a = excluded.a',
    'MERGE INTO iw_items AS i USING iw_source AS s ON s.id = i.id
     WHEN MATCHED THEN UPDATE SET a = s.v WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.v)',
    'MERGE INTO iw_items AS i USING iw_source AS s ON s.id = i.id
     WHEN MATCHED AND s.v = 1 THEN DELETE WHEN MATCHED THEN DO NOTHING');

-- What is deleted has to be cleaned up.
SELECT * FROM written('iw_items (a)', 'DELETE FROM iw_items WHERE id = 5');

-- Partitions, whatever the columns' numbers are: of the whole, and of one of them.
SELECT * FROM written('iw_whole (a)',
    'UPDATE iw_whole SET a = 1', 'UPDATE iw_whole SET a = 1 WHERE id < 400', 'UPDATE iw_one SET a = 1', 'UPDATE iw_one SET b = 1',
    'INSERT INTO iw_whole VALUES (1, 1, 1)');
SELECT * FROM written('iw_one (a)',
    'UPDATE iw_whole SET a = 1', 'UPDATE iw_one SET a = 1', 'UPDATE iw_two SET a = 1', 'INSERT INTO iw_whole VALUES (1, 1, 1)');
SELECT * FROM written('iw_parent (a)', 'UPDATE iw_parent SET a = 1', 'UPDATE ONLY iw_parent SET a = 1', 'DELETE FROM iw_parent');
SELECT * FROM written('iw_child (a)', 'UPDATE iw_parent SET a = 1', 'UPDATE iw_child SET a = 1');

-- An empty table without WAL, and more methods.
SELECT * FROM written('iw_unlogged (id)', 'INSERT INTO iw_unlogged VALUES (1)', 'DELETE FROM iw_unlogged');
SELECT * FROM written('iw_items USING hash (a)', 'INSERT INTO iw_items (id) VALUES (1)', 'UPDATE iw_items SET a = 1');
SELECT * FROM written('iw_items USING gin (string_to_array(c || '','' || b, '',''))', 'INSERT INTO iw_items (id) VALUES (1)');
SELECT * FROM written('iw_items USING gist (point(a, b))', 'INSERT INTO iw_items (id) VALUES (1)');
SELECT architect._index_write_cost('CREATE INDEX ON iw_items (c)', 'TRUNCATE iw_items'); -- fails: no plan
SELECT build_seconds > 0 AS takes_time FROM architect._index_write_cost('CREATE INDEX ON iw_items (c)', 'DELETE FROM iw_items');

DROP SCHEMA index_write CASCADE;
DROP EXTENSION pg_architect;
