-- audit_changes gives what became of each record between two times, however many
-- changes that took, and nothing of records that are as they were.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_changes_owner;
CREATE ROLE regress_changes_other;
CREATE SCHEMA audit_changes AUTHORIZATION regress_changes_owner;
GRANT USAGE ON SCHEMA audit_changes TO regress_changes_other;
SET SESSION AUTHORIZATION regress_changes_owner;
SET search_path = audit_changes;

CREATE TABLE item (id integer PRIMARY KEY, name text, price numeric, doc jsonb);
SELECT architect.audit_enable('item');
INSERT INTO item SELECT n, 'old', n, NULL FROM generate_series(1, 12) AS n;
SELECT clock_timestamp() AS t1 \gset
-- Several changes of one record are one; there and back is none; so is a short life.
UPDATE item SET price = 100 WHERE id = 1;
UPDATE item SET price = 101, name = 'new' WHERE id = 1;
UPDATE item SET price = 200 WHERE id = 2;
UPDATE item SET price = 2 WHERE id = 2;
INSERT INTO item VALUES (20, 'short', 1, NULL);
UPDATE item SET name = 'life' WHERE id = 20;
DELETE FROM item WHERE id = 20;
-- The scale of a number is a change, and JSON null is not SQL NULL.
UPDATE item SET price = 3.00, doc = 'null' WHERE id = 3;
UPDATE item SET doc = 'null' WHERE id = 4;
UPDATE item SET doc = NULL WHERE id = 4;
-- Deleted and inserted again: the difference, or nothing.
DELETE FROM item WHERE id IN (5, 6);
INSERT INTO item VALUES (5, 'back', 5, NULL), (6, 'old', 6, NULL);
-- A record has the id that it had first; a new one that it has last.
UPDATE item SET id = 70 WHERE id = 7;
UPDATE item SET id = 71, name = 'moved' WHERE id = 70;
UPDATE item SET id = 80 WHERE id = 8;
DELETE FROM item WHERE id = 80;
INSERT INTO item VALUES (8, 'other', 8, NULL);
INSERT INTO item VALUES (90, 'born', 9, '{"a": [1.0, null]}');
UPDATE item SET id = 91 WHERE id = 90;
UPDATE item SET id = 92 WHERE id = 9;
UPDATE item SET id = 9 WHERE id = 92;
SELECT clock_timestamp() AS t2 \gset
UPDATE item SET name = 'later' WHERE id IN (1, 10, 91);
DELETE FROM item WHERE id = 11;
SELECT * FROM architect.audit_changes('item', :'t1', :'t2') ORDER BY record_id, operation;
SELECT * FROM architect.audit_changes('item', :'t2') ORDER BY record_id;
-- Both together come to the same as the whole.
SELECT record_id, operation FROM architect.audit_changes('item', since => :'t1') ORDER BY record_id, operation;
SELECT count(*) FILTER (WHERE operation = 'INSERT') = (SELECT count(*) FROM item) AS inserted, count(*) = (SELECT count(*) FROM item) AS alone
FROM architect.audit_changes('item', '-infinity', 'infinity');
SELECT count(*) FROM architect.audit_changes('item', '-infinity') AS change
JOIN item ON item.id::text = change.record_id AND to_jsonb(item) = change.new_values;
-- Nothing came after the end, or between a time and an earlier one.
SELECT count(*) FROM architect.audit_changes('item', 'infinity');
SELECT count(*) FROM architect.audit_changes('item', :'t2', :'t1');
SELECT count(*) FROM architect.audit_changes('item', :'t2', :'t2');

-- It is what two looks at the past differ in.
SELECT coalesce(was.id, now.id) AS id, was.price AS was, now.price AS now
FROM architect.audit_as_of(NULL::item, :'t1') AS was
FULL JOIN architect.audit_as_of(NULL::item, :'t2') AS now ON now.id = was.id
WHERE was::text IS DISTINCT FROM now::text AND was.id IS NOT NULL AND now.id IS NOT NULL
ORDER BY 1;

-- What the present transaction has changed counts; what it took back does not.
BEGIN;
DELETE FROM item;
SAVEPOINT one;
INSERT INTO item VALUES (1, 'never', 0, NULL);
ROLLBACK TO one;
INSERT INTO item VALUES (12, 'kept', 12, NULL);
SELECT operation, count(*), max(new_values ->> 'name') AS name
FROM architect.audit_changes('item', now()) GROUP BY operation ORDER BY operation;
ROLLBACK;
SELECT count(*) FROM architect.audit_changes('item', now());

-- Keys that are swapped in one statement.
CREATE TABLE swap (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT architect.audit_enable('swap');
INSERT INTO swap VALUES (1, 'one'), (2, 'two'), (3, 'three');
SELECT clock_timestamp() AS t1 \gset
UPDATE swap SET id = id % 3 + 1;
SELECT record_id, operation, old_values, new_values -> 'id' AS new_id FROM architect.audit_changes('swap', :'t1') ORDER BY record_id;

-- Columns have the names that they have now; masked values are not told, dropped columns neither.
CREATE TABLE card (id integer PRIMARY KEY, name text, number text, gone text, seen text);
SELECT architect.audit_enable('card', mask => '{number}', exclude => '{seen}');
INSERT INTO card VALUES (1, 'Ann', '4111', 'x', 'y'), (2, 'Bob', '5500', 'x', 'y'), (3, 'Cid', '3700', 'x', 'y');
SELECT clock_timestamp() AS t1 \gset
UPDATE card SET name = 'Anna', seen = 'z' WHERE id = 1;
UPDATE card SET number = '5511', gone = 'z' WHERE id = 2;
DELETE FROM card WHERE id = 3;
ALTER TABLE card RENAME name TO label;
ALTER TABLE card DROP gone;
SELECT * FROM architect.audit_changes('card', :'t1') ORDER BY record_id;

-- A TRUNCATE that leaves no rows is told as it is; of one that does, each row.  Keys alone have no values.
CREATE TABLE emptied (id integer PRIMARY KEY, name text);
CREATE TABLE told (id integer PRIMARY KEY, name text);
CREATE TABLE keyed (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('emptied'), architect.audit_enable('told', truncate => 'rows'),
       architect.audit_enable('keyed', capture => 'keys');
INSERT INTO emptied VALUES (1, 'a'), (2, 'b');
INSERT INTO told VALUES (1, 'a'), (2, 'b');
INSERT INTO keyed VALUES (1, 'a'), (2, 'b'), (3, 'c');
SELECT clock_timestamp() AS t1 \gset
UPDATE emptied SET name = 'changed before' WHERE id = 1;
TRUNCATE emptied, told;
INSERT INTO emptied VALUES (1, 'again'), (3, 'new');
INSERT INTO told VALUES (1, 'again'), (3, 'new');
UPDATE keyed SET name = 'x' WHERE id = 1;
UPDATE keyed SET id = 20 WHERE id = 2;
DELETE FROM keyed WHERE id = 3;
SELECT * FROM architect.audit_changes('emptied', :'t1') ORDER BY operation, record_id;
SELECT * FROM architect.audit_changes('told', :'t1') ORDER BY operation, record_id;
SELECT * FROM architect.audit_changes('keyed', :'t1') ORDER BY operation, record_id;

-- A partitioned table as a whole; a row that has moved to another partition is the same.
CREATE TABLE sale (id integer, year integer, note text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20);
SELECT architect.audit_enable('sale');
INSERT INTO sale VALUES (1, 1, 'a'), (2, 11, 'b');
SELECT clock_timestamp() AS t1 \gset
UPDATE sale SET year = 12 WHERE id = 1;
UPDATE sale_2 SET note = 'bb' WHERE id = 2;
-- Neither a baseline nor a gap is a change.
SELECT architect.audit_baseline('sale');
ALTER TABLE sale DISABLE TRIGGER architect_audit;
ALTER TABLE sale ENABLE TRIGGER architect_audit;
SELECT * FROM architect.audit_changes('sale', :'t1') ORDER BY record_id;
-- fails: a partition
SELECT * FROM architect.audit_changes('sale_1', :'t1');

-- What is in the log is told of a table that is not audited any more.
SELECT architect.audit_disable('swap');
SELECT operation, count(*) FROM architect.audit_changes('swap', '-infinity') GROUP BY operation;
-- fails: nothing to look for
SELECT * FROM architect.audit_changes('item', NULL);
SELECT * FROM architect.audit_changes(NULL, now());
-- fails: never audited
CREATE TABLE plain (id integer PRIMARY KEY);
SELECT * FROM architect.audit_changes('plain', now());
-- fails: not the owner
GRANT ALL ON item TO regress_changes_other;
SET SESSION AUTHORIZATION regress_changes_other;
SELECT * FROM architect.audit_changes('audit_changes.item', '-infinity');
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA audit_changes CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_changes_owner, regress_changes_other;
