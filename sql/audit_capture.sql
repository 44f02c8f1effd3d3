-- Every way to change a row, and exactly the log rows that it must leave.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_capture_owner;
CREATE SCHEMA audit_capture AUTHORIZATION regress_capture_owner;
SET SESSION AUTHORIZATION regress_capture_owner;
SET search_path = audit_capture;

-- What the log has got since the last look.
CREATE FUNCTION news()
    RETURNS TABLE (table_name text, operation text, record_id text, old_values jsonb, new_values jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('test.seen', true), ''), '0');
BEGIN
    PERFORM set_config('test.seen', max(log.id)::text, false) FROM architect.audit_log AS log;
    RETURN QUERY
        SELECT log.table_name, log.operation, log.record_id, log.old_values, log.new_values
        FROM architect.audit_log AS log
        WHERE log.id > seen
        ORDER BY log.id;
END
$$;

CREATE TABLE item (id integer PRIMARY KEY, name text, price numeric(10, 2), tags text[]);
CREATE TABLE stock (item_id integer PRIMARY KEY, amount integer);
SELECT architect.audit_enable('item');
SELECT architect.audit_enable('stock');

-- INSERT: the new row, whole.
INSERT INTO item VALUES (1, 'one', 1.50, '{a,b}'), (2, NULL, NULL, NULL);
INSERT INTO item (id) SELECT * FROM generate_series(3, 4);
INSERT INTO item SELECT * FROM item WHERE false;
SELECT * FROM news();

-- UPDATE: the columns that differ, before and after; nothing where none does.
UPDATE item SET name = 'uno', price = 1.50 WHERE id = 1;
UPDATE item SET name = name;
UPDATE item SET name = NULL, tags = '{}' WHERE id = 1;
UPDATE item SET name = NULL, tags = '{}' WHERE id = 2;
-- A number of another scale is another number.
UPDATE item SET price = 1.5 WHERE id = 1;
ALTER TABLE item ALTER COLUMN price TYPE numeric;
UPDATE item SET price = 1.5 WHERE id = 1;
SELECT * FROM news();

-- DELETE: the old row, whole.
DELETE FROM item WHERE id IN (2, 99);
SELECT * FROM news();

-- Both images whole, and none at all.
SELECT architect.audit_enable('item', capture => 'full');
INSERT INTO item VALUES (5, 'five');
UPDATE item SET name = 'cinq' WHERE id = 5;
UPDATE item SET name = 'cinq' WHERE id = 5;
DELETE FROM item WHERE id = 5;
SELECT architect.audit_enable('item', capture => 'keys');
INSERT INTO item VALUES (6, 'six');
UPDATE item SET name = 'sechs' WHERE id = 6;
UPDATE item SET name = 'sechs' WHERE id = 6;
DELETE FROM item WHERE id = 6;
SELECT * FROM news();
SELECT architect.audit_enable('item');

-- COPY.
COPY item (id, name) FROM STDIN;
10	ten
11	\N
\.
-- fails: the second row is there already, so neither is
COPY item (id, name) FROM STDIN;
12	twelve
10	ten again
\.
SELECT * FROM news();

-- ON CONFLICT: what came of it counts.
INSERT INTO item (id, name) VALUES (10, 'x') ON CONFLICT DO NOTHING;
INSERT INTO item (id, name) VALUES (10, 'x'), (13, 'new') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO item (id, name) VALUES (10, 'y') ON CONFLICT (id) DO UPDATE SET name = 'never' WHERE false;
INSERT INTO item (id, name) VALUES (10, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT * FROM news();

-- MERGE.
MERGE INTO item
USING (VALUES (10, 'merged'), (11, NULL), (14, 'came')) AS source (id, name) ON source.id = item.id
WHEN MATCHED AND source.name IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET name = source.name
WHEN NOT MATCHED THEN INSERT (id, name) VALUES (source.id, source.name);
SELECT * FROM news() ORDER BY record_id COLLATE "C";

-- Writable CTEs, on two tables in one statement.
WITH sold AS (
    DELETE FROM item WHERE id IN (13, 14) RETURNING id
), noted AS (
    INSERT INTO stock SELECT id, 0 FROM sold RETURNING item_id
)
UPDATE item SET name = 'with' WHERE id = 10;
WITH gone AS (DELETE FROM stock WHERE item_id = 13) SELECT 1 AS one;
SELECT * FROM news() ORDER BY table_name COLLATE "C", record_id COLLATE "C", operation COLLATE "C";

-- UPDATE ... FROM, DELETE ... USING, and a row that would be changed twice is changed once.
INSERT INTO stock VALUES (1, 5);
UPDATE stock SET amount = amount + 1 FROM item WHERE item.id = stock.item_id OR true;
DELETE FROM stock USING item WHERE stock.item_id = item.id;
SELECT * FROM news() ORDER BY record_id COLLATE "C", operation COLLATE "C";

-- Through a view, a function, a prepared statement, a cursor and a DO block.
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price IS NULL;
INSERT INTO cheap VALUES (20, 'view');
CREATE FUNCTION rename(integer, text) RETURNS void LANGUAGE sql AS 'UPDATE item SET name = $2 WHERE id = $1';
SELECT rename(20, 'function');
PREPARE change(integer, text) AS UPDATE item SET name = $2 WHERE id = $1;
EXECUTE change(20, 'prepared');
BEGIN;
DECLARE cursor CURSOR FOR SELECT * FROM item WHERE id = 20 FOR UPDATE;
FETCH cursor;
UPDATE item SET name = 'cursor' WHERE CURRENT OF cursor;
COMMIT;
DO $$ BEGIN FOR i IN 1..2 LOOP UPDATE item SET name = 'block ' || i WHERE id = 20; END LOOP; END $$;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT XML) UPDATE item SET name = 'explained' WHERE id = 20
\g /dev/null
COPY (UPDATE item SET name = 'copied out' WHERE id = 20 RETURNING name) TO STDOUT;
CREATE FUNCTION loop_and_return() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    changed text;
BEGIN
    FOR changed IN UPDATE item SET name = 'looped' WHERE id = 20 RETURNING name LOOP
        RETURN NEXT changed;
    END LOOP;
    RETURN QUERY UPDATE item SET name = 'returned' WHERE id = 20 RETURNING name;
END
$$;
SELECT * FROM loop_and_return();
SELECT operation, record_id, new_values FROM news();

-- A table that is made, filled and audited in one transaction; a statement of many rows.
BEGIN;
CREATE TABLE many AS SELECT generate_series(1, 10) AS id, 0 AS n;
ALTER TABLE many ADD PRIMARY KEY (id);
SELECT architect.audit_enable('many');
INSERT INTO many SELECT generate_series(11, 5000), 0;
UPDATE many SET n = id;
COMMIT;
SELECT operation, count(*), count(DISTINCT record_id) AS records, count(DISTINCT id) AS ids,
       sum((new_values ->> 'n')::integer) AS sum
FROM architect.audit_log
WHERE table_name = 'many'
GROUP BY operation
ORDER BY min(id);

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_capture CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_capture_owner;
