-- audit_history gives every version of a record as the whole row, through key
-- changes and key reuse, and says where the log does not have the whole row.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_history_owner;
CREATE ROLE regress_history_other;
CREATE SCHEMA audit_history AUTHORIZATION regress_history_owner;
SET SESSION AUTHORIZATION regress_history_owner;
SET search_path = audit_history;

CREATE FUNCTION versions(target regclass, record_id text)
    RETURNS TABLE (version bigint, operation text, record jsonb, complete boolean)
    LANGUAGE sql
BEGIN ATOMIC
    SELECT history.version, history.operation, history.record, history.complete
    FROM architect.audit_history(target, record_id) AS history;
END;

CREATE TABLE item (id integer PRIMARY KEY, name text, price numeric(10, 2), doc jsonb, card text);
SELECT architect.audit_enable('item', mask => '{card}');

-- Each version is the whole row after the change; SQL NULL and JSON null stay apart; a mask stays.
INSERT INTO item VALUES (1, 'mug', 9.50, 'null', '4111'), (2, 'cup', 4, NULL, NULL);
UPDATE item SET price = 10 WHERE id = 1;
UPDATE item SET doc = NULL WHERE id = 1;
UPDATE item SET doc = 'null', card = '5500' WHERE id = 1;
UPDATE item SET doc = '{"b": [1, null], "a": {"c": 1.50}}' WHERE id = 1;
SELECT * FROM versions('item', '1');

-- All columns, for one that the application changed.
BEGIN;
SELECT architect.audit_set_actor('alice', '{"request": "r-1"}');
UPDATE item SET name = 'beaker' WHERE id = 2;
SELECT version, operation, record, old_values, new_values, changed_by, changed_at > now() - interval '1 hour' AS recent,
       transaction_id = pg_current_xact_id() AS mine, complete, log_id > 0 AS numbered, new_record_id, session_role, context
FROM architect.audit_history('item', '2')
WHERE changed_by = 'alice';
COMMIT;

-- A change of the key is followed in both directions, and a key that is used again has two lives.
UPDATE item SET id = 10 WHERE id = 1;
UPDATE item SET id = 11, name = 'pot' WHERE id = 10;
INSERT INTO item VALUES (10, 'other', 1, NULL, NULL);
DELETE FROM item WHERE id = 11;
SELECT version, operation, record -> 'id' AS id, record -> 'name' AS name, complete FROM versions('item', '10');
SELECT version, operation, record -> 'id' AS id, record -> 'name' AS name FROM versions('item', '1');

-- Changing every key does not pull in the other records.
INSERT INTO item SELECT n, 'many' FROM generate_series(100, 110) AS n;
BEGIN;
UPDATE item SET id = -id - 1 WHERE id >= 100;
UPDATE item SET id = -id WHERE id <= -100;
COMMIT;
SELECT version, operation, record -> 'id' AS id FROM versions('item', '105');

-- With a deferrable key two rows have one key for a moment.
CREATE TABLE swap (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT architect.audit_enable('swap');
INSERT INTO swap VALUES (1, 'one'), (2, 'two');
UPDATE swap SET id = 3 - id;
UPDATE swap SET name = upper(name) WHERE id = 1;
SELECT * FROM versions('swap', '1');

-- One life comes after the other, and that of whoever has the key now is the last.
CREATE TABLE desk (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('desk');
INSERT INTO desk VALUES (1, 'first');
UPDATE desk SET id = 2;
INSERT INTO desk VALUES (1, 'second');
UPDATE desk SET name = 'first, later' WHERE id = 2;
SELECT version, operation, record FROM versions('desk', '1');
DELETE FROM desk WHERE id = 1;
UPDATE desk SET id = 1;
SELECT version, operation, record FROM versions('desk', '1');

-- A delete gives the whole row backwards to where the log begins.
CREATE TABLE late (id integer PRIMARY KEY, name text, stock integer);
INSERT INTO late VALUES (1, 'mug', 1), (2, 'cup', 1), (3, 'pot', 1);
SELECT architect.audit_enable('late');
UPDATE late SET stock = 2;
UPDATE late SET stock = 3, name = 'big ' || name WHERE id < 3;
DELETE FROM late WHERE id = 1;
SELECT * FROM versions('late', '1');
-- Without it there is what events tell, before and after, and it is not called complete.
SELECT * FROM versions('late', '2');
SELECT * FROM versions('late', '3');
-- TRUNCATE ends all lives.
TRUNCATE late;
INSERT INTO late VALUES (3, 'new', 1);
SELECT * FROM versions('late', '3');

-- Rows of a TRUNCATE are like those of a DELETE; full images need no beginning; keys alone tell no row.
CREATE TABLE emptied (id integer PRIMARY KEY, name text);
CREATE TABLE whole (id integer PRIMARY KEY, name text);
CREATE TABLE keyed (id integer PRIMARY KEY, name text);
INSERT INTO emptied VALUES (1, 'a');
INSERT INTO whole VALUES (1, 'a');
SELECT architect.audit_enable('emptied', truncate => 'rows'), architect.audit_enable('whole', capture => 'full'),
       architect.audit_enable('keyed', capture => 'keys');
UPDATE emptied SET name = 'b';
TRUNCATE emptied;
UPDATE whole SET name = 'b';
INSERT INTO keyed VALUES (1, 'a');
UPDATE keyed SET name = 'b';
UPDATE keyed SET id = 2;
DELETE FROM keyed;
SELECT * FROM versions('emptied', '1');
SELECT * FROM versions('whole', '1');
SELECT * FROM versions('keyed', '1');

-- After a gap, and where the row was not as the log knew it, nothing is complete until a whole image.
CREATE TABLE gap (id integer PRIMARY KEY, name text, stock integer);
SELECT architect.audit_enable('gap');
INSERT INTO gap VALUES (1, 'mug', 1);
ALTER TABLE gap DISABLE TRIGGER architect_audit;
UPDATE gap SET stock = 5;
ALTER TABLE gap ENABLE TRIGGER architect_audit;
UPDATE gap SET stock = 6;
UPDATE gap SET name = 'cup';
SELECT version, operation, record, complete FROM versions('gap', '1');
DELETE FROM gap;
INSERT INTO gap VALUES (1, 'pot', 1);
RESET SESSION AUTHORIZATION;
SELECT architect._audit_note(table_id, 'GAP', NULL, '{"gap": "test"}') > 0 AS noted
FROM architect.audit_tables
WHERE relation = 'audit_history.gap'::regclass;
SET SESSION AUTHORIZATION regress_history_owner;
UPDATE gap SET stock = 2;
SELECT version, operation, record, complete FROM versions('gap', '1') WHERE version > 3;
-- So it is where the table was not audited for a while, or keys alone were.
SELECT architect.audit_disable('late'), architect.audit_enable('late');
UPDATE late SET stock = 7;
SELECT architect.audit_enable('late', capture => 'keys');
UPDATE late SET name = 'old';
SELECT architect.audit_enable('late');
UPDATE late SET stock = 8;
SELECT version, operation, record, complete FROM versions('late', '3') WHERE version > 3;

-- A table that was rewritten is as it was, but for a column whose type was changed.
ALTER TABLE gap ADD made double precision;
INSERT INTO gap VALUES (2, 'mug', 1, 0.5);
ALTER TABLE gap ADD more double precision DEFAULT random();
UPDATE gap SET stock = 2;
ALTER TABLE gap ALTER made TYPE numeric;
UPDATE gap SET stock = 3;
SELECT version, operation, record - 'more' AS record, complete FROM versions('gap', '2');

-- What was erased stays marked as long as no later value stands there.
CREATE TABLE person (id integer PRIMARY KEY, name text, email text);
SELECT architect.audit_enable('person');
INSERT INTO person VALUES (1, 'Ann', 'a@x');
UPDATE person SET name = 'Anna';
UPDATE person SET email = 'b@x';
RESET SESSION AUTHORIZATION;
UPDATE architect.audit_log SET new_values = new_values || '{"": [{"erased": "email"}], "email": null}'
WHERE table_name = 'person' AND operation = 'INSERT';
UPDATE architect.audit_log SET old_values = old_values || '{"": [{"erased": "email"}], "email": null}'
WHERE table_name = 'person' AND old_values ? 'email';
SET SESSION AUTHORIZATION regress_history_owner;
SELECT * FROM versions('person', '1');

-- A partitioned table has its history under its own name; the TRUNCATE of a partition may have ended a life.
CREATE TABLE sale (id integer, year integer, note text, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES IN (2);
SELECT architect.audit_enable('sale');
INSERT INTO sale VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c');
TRUNCATE sale_1;
UPDATE sale SET note = 'bb' WHERE id = 2;
INSERT INTO sale VALUES (3, 1, 'again');
SELECT * FROM versions('sale', '["1", "1"]');
SELECT * FROM versions('sale', '["2", "2"]');
SELECT * FROM versions('sale', '["3", "1"]');
-- fails: a partition
SELECT * FROM architect.audit_history('sale_1', '["1", "1"]');

-- No such record, and what is no audited table.
SELECT count(*) FROM versions('item', 'nobody');
CREATE TABLE plain (id integer PRIMARY KEY);
-- fails: never audited
SELECT * FROM architect.audit_history('plain', '1');
-- The history outlives the audit.
SELECT architect.audit_disable('swap');
SELECT count(*) FROM architect.audit_history('swap', '1');

-- fails: not the owner
SET SESSION AUTHORIZATION regress_history_other;
SELECT * FROM architect.audit_history((SELECT oid FROM pg_class WHERE relname = 'item'), '1');
RESET SESSION AUTHORIZATION;

-- Without the indexes the log is read from end to end.
DROP INDEX architect.audit_log_record_idx, architect.audit_log_new_record_idx;
SELECT version, operation, record -> 'id' AS id, complete FROM architect.audit_history('audit_history.item', '10');

SET client_min_messages = warning;
DROP SCHEMA audit_history CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_history_owner, regress_history_other;
