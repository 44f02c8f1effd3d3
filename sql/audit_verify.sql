-- audit_verify finds every record in which the table is not what its log comes to, and
-- nothing else; audit_baseline lets rows count that are older than the log.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_verify_owner;
CREATE ROLE regress_verify_other;
CREATE SCHEMA audit_verify AUTHORIZATION regress_verify_owner;
GRANT USAGE ON SCHEMA audit_verify TO regress_verify_other;
SET SESSION AUTHORIZATION regress_verify_owner;
SET search_path = audit_verify;

-- What is done in the ordinary way holds: several changes of a record, other keys,
-- rows taken back, columns altered, values of many types.
CREATE TABLE item (id integer PRIMARY KEY, name text, number numeric, doc jsonb, tags text[], at timestamptz, span interval,
                   twice numeric GENERATED ALWAYS AS (number * 2) STORED);
SELECT architect.audit_enable('item');
INSERT INTO item VALUES (1, 'one', 1.50, 'null', '{a,NULL}', '2024-03-31 02:30+01', '-1 mon +3 days'), (2, 'two', 'NaN', NULL, '{}', NULL, NULL),
    (3, 'three', -0.0, '{"b": 1.0, "a": []}', NULL, 'infinity', '0'), (4, 'four', NULL, NULL, NULL, NULL, NULL);
UPDATE item SET id = id + 10;
INSERT INTO item VALUES (11 - 10, 'again');
UPDATE item SET doc = NULL, number = 1.500 WHERE id = 11;
DELETE FROM item WHERE id = 12;
INSERT INTO item VALUES (12, 'back'), (13 + 1000, 'short');
DELETE FROM item WHERE id = 1013;
BEGIN;
DELETE FROM item;
SAVEPOINT one;
INSERT INTO item VALUES (11, 'never');
ROLLBACK TO one;
SELECT * FROM architect.audit_verify('item');
ROLLBACK;
ALTER TABLE item RENAME name TO label;
ALTER TABLE item ADD more text DEFAULT 'x', DROP tags, ALTER label TYPE varchar(20);
UPDATE item SET label = label || '!', more = 'y' WHERE id > 12;
SET TimeZone = 'Asia/Kathmandu';
SET IntervalStyle = iso_8601;
SET DateStyle = 'German';
SET extra_float_digits = -5;
SELECT * FROM architect.audit_verify('item');
RESET TimeZone;
RESET IntervalStyle;
RESET DateStyle;
RESET extra_float_digits;

-- What a superuser does past the triggers is found: all of it, and column by column.
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
UPDATE audit_verify.item SET label = 'bypass' WHERE id = 11;
UPDATE audit_verify.item SET doc = 'null', number = 1.50 WHERE id = 14;
DELETE FROM audit_verify.item WHERE id = 13;
INSERT INTO audit_verify.item (id, label) VALUES (99, 'smuggled');
UPDATE audit_verify.item SET id = 120 WHERE id = 12;
RESET session_replication_role;
SET SESSION AUTHORIZATION regress_verify_owner;
SELECT * FROM architect.audit_verify('item') ORDER BY record_id;
-- So is what was done to the log.
RESET SESSION AUTHORIZATION;
SELECT architect.audit_baseline('audit_verify.item');
SELECT count(*) FROM architect.audit_verify('audit_verify.item');
BEGIN;
DELETE FROM architect.audit_log WHERE operation = 'BASELINE' AND record_id = '99';
UPDATE architect.audit_log SET new_values = new_values || '{"label": "forged"}' WHERE operation = 'BASELINE' AND record_id = '11';
SELECT * FROM architect.audit_verify('audit_verify.item') ORDER BY record_id;
ROLLBACK;
SET SESSION AUTHORIZATION regress_verify_owner;
-- A change that is logged over an unlogged one says what the row was, and covers it.
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
UPDATE audit_verify.item SET label = 'unseen' WHERE id = 11;
RESET session_replication_role;
SET SESSION AUTHORIZATION regress_verify_owner;
UPDATE item SET more = 'seen' WHERE id = 11;
SELECT * FROM architect.audit_verify('item');
UPDATE item SET label = 'seen' WHERE id = 11;
SELECT * FROM architect.audit_verify('item');
SELECT old_values FROM architect.audit_log WHERE record_id = '11' ORDER BY id DESC LIMIT 1;

-- Rows that are older than the log are counted, not accused, until a baseline has them.
CREATE TABLE late (id integer PRIMARY KEY, name text, price integer);
INSERT INTO late SELECT n, 'old', n FROM generate_series(1, 5) AS n;
SELECT architect.audit_enable('late');
INSERT INTO late VALUES (6, 'new', 6);
UPDATE late SET price = 10 WHERE id = 1;
DELETE FROM late WHERE id = 2;
SELECT * FROM architect.audit_verify('late');
-- Of one that has changed since, the columns that did are known.
ALTER TABLE late DISABLE TRIGGER architect_audit;
UPDATE late SET name = 'unseen', price = 0;
ALTER TABLE late ENABLE TRIGGER architect_audit;
SELECT * FROM architect.audit_verify('late') ORDER BY record_id;
SELECT architect.audit_baseline('late');
SELECT * FROM architect.audit_verify('late');
SELECT operation, record_id, old_values, new_values FROM architect.audit_log
WHERE table_name = 'late' AND operation = 'BASELINE' ORDER BY id;
-- From there on the whole row is, and a second baseline is as good.
UPDATE late SET price = 1 WHERE id = 1;
DELETE FROM late WHERE id = 6;
ALTER TABLE late DISABLE TRIGGER architect_audit;
DELETE FROM late WHERE id = 3;
UPDATE late SET name = 'x' WHERE id = 4;
ALTER TABLE late ENABLE TRIGGER architect_audit;
SELECT * FROM architect.audit_verify('late') ORDER BY record_id;
SELECT architect.audit_baseline('late');
TRUNCATE late;
SELECT * FROM architect.audit_verify('late');
INSERT INTO late VALUES (3, 'three', 3);
SELECT * FROM architect.audit_verify('late');

-- Rows of a TRUNCATE, whole images, and keys alone.
CREATE TABLE emptied (id integer PRIMARY KEY, name text);
CREATE TABLE whole (id integer PRIMARY KEY, name text);
CREATE TABLE keyed (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('emptied', truncate => 'rows'), architect.audit_enable('whole', capture => 'full'),
       architect.audit_enable('keyed', capture => 'keys');
INSERT INTO emptied VALUES (1, 'a'), (2, 'b');
INSERT INTO whole VALUES (1, 'a'), (2, 'b');
INSERT INTO keyed VALUES (1, 'a'), (2, 'b');
TRUNCATE emptied;
INSERT INTO emptied VALUES (1, 'again');
UPDATE whole SET id = 3, name = 'c' WHERE id = 1;
UPDATE keyed SET id = 3, name = 'c' WHERE id = 1;
SELECT * FROM architect.audit_verify('emptied') UNION ALL SELECT * FROM architect.audit_verify('whole')
UNION ALL SELECT * FROM architect.audit_verify('keyed');
ALTER TABLE keyed DISABLE TRIGGER architect_audit;
UPDATE keyed SET name = 'not seen by keys alone' WHERE id = 2;
DELETE FROM keyed WHERE id = 3;
INSERT INTO keyed VALUES (4, 'd');
ALTER TABLE keyed ENABLE TRIGGER architect_audit;
SELECT record_id, problem FROM architect.audit_verify('keyed') ORDER BY record_id;

-- Keys that are swapped; partitions, between which rows move.
CREATE TABLE swap (id integer PRIMARY KEY DEFERRABLE, name text);
CREATE TABLE sale (id integer, year integer, note text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
CREATE TABLE sale_1 (note text, year integer NOT NULL, id integer NOT NULL);
ALTER TABLE sale ATTACH PARTITION sale_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20);
SELECT architect.audit_enable('swap'), architect.audit_enable('sale');
INSERT INTO swap VALUES (1, 'one'), (2, 'two'), (3, 'three');
UPDATE swap SET id = id % 3 + 1;
INSERT INTO sale VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 11, 'c');
UPDATE sale SET year = 22 - year WHERE id = 3;
UPDATE sale SET year = year + 10 WHERE id = 1;
DELETE FROM sale_1 WHERE id = 2;
SELECT * FROM architect.audit_verify('swap') UNION ALL SELECT * FROM architect.audit_verify('sale');
ALTER TABLE sale_2 DISABLE TRIGGER architect_audit;
-- fails: one partition is not followed
SELECT * FROM architect.audit_verify('sale');
UPDATE sale SET note = 'unseen' WHERE id = 3;
ALTER TABLE sale_2 ENABLE TRIGGER architect_audit;
SELECT * FROM architect.audit_verify('sale');
-- A partition that is emptied by name may have taken any record along, but not brought one.
SELECT architect.audit_baseline('sale');
TRUNCATE sale_2;
SELECT * FROM architect.audit_verify('sale');

-- More than fits into memory at once.
CREATE TABLE many (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('many');
INSERT INTO many SELECT n, 'row' FROM generate_series(1, 9000) AS n;
ANALYZE many;
UPDATE many SET id = id + 100000 WHERE id % 7 = 0;
UPDATE many SET id = id - 100000 WHERE id > 100000 AND id % 3 = 0;
DELETE FROM many WHERE id % 11 = 0;
INSERT INTO many SELECT n * 11, 'again' FROM generate_series(1, 100) AS n ON CONFLICT DO NOTHING;
SET maintenance_work_mem = '1MB';
SELECT * FROM architect.audit_verify('many');
ALTER TABLE many DISABLE TRIGGER architect_audit;
UPDATE many SET name = 'x' WHERE id IN (100021, 5, 22);
DELETE FROM many WHERE id IN (1, 2, 100028);
INSERT INTO many VALUES (-1), (-2);
ALTER TABLE many ENABLE TRIGGER architect_audit;
SELECT * FROM architect.audit_verify('many') ORDER BY record_id;
RESET maintenance_work_mem;

-- fails: not the owner, not audited, nothing at all
SET SESSION AUTHORIZATION regress_verify_other;
SELECT * FROM architect.audit_verify('item');
SELECT architect.audit_baseline('item');
RESET SESSION AUTHORIZATION;
CREATE TABLE audit_verify.plain (id integer PRIMARY KEY);
SELECT * FROM architect.audit_verify('audit_verify.plain');
SELECT architect.audit_baseline('audit_verify.plain');
SELECT * FROM architect.audit_verify(0);

SET client_min_messages = warning;
DROP SCHEMA audit_verify CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_verify_owner, regress_verify_other;
