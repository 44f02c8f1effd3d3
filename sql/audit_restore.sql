-- audit_restore brings one record back to a version of its history.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_restore_owner;
CREATE ROLE regress_restore_other;
CREATE SCHEMA audit_restore AUTHORIZATION regress_restore_owner;
SET SESSION AUTHORIZATION regress_restore_owner;
SET search_path = audit_restore;

CREATE TABLE item (id integer PRIMARY KEY, name text, price numeric(10, 2), doc jsonb, secret text DEFAULT 'none',
                   twice numeric GENERATED ALWAYS AS (price * 2) STORED);
SELECT architect.audit_enable('item', mask => '{secret}');
INSERT INTO item VALUES (1, 'mug', 9.50, 'null', 's');
UPDATE item SET price = 10;
UPDATE item SET name = 'cup', doc = '{"a": 1}', secret = 't';
SELECT version, record FROM architect.audit_history('item', '1');

-- Only what differs is set; the mask is said; the restore is a version itself.
SELECT architect.audit_restore('item', '1', 1);
TABLE item;
SELECT old_values, new_values FROM architect.audit_history('item', '1') WHERE version = 4;
SELECT architect.audit_restore('item', '1', 1);
SELECT architect.audit_restore('item', '1', 2);
TABLE item;

-- A deleted row comes back, and a row that was not there goes.
DELETE FROM item;
SELECT architect.audit_restore('item', '1', 3);
TABLE item;
SELECT version, operation FROM architect.audit_history('item', '1') WHERE record IS NULL;
SELECT architect.audit_restore('item', '1', 6);
SELECT architect.audit_restore('item', '1', 6);
SELECT count(*) FROM item;

-- A row that has another key now is the same row, and gets its old key back.
CREATE TABLE moved (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('moved');
INSERT INTO moved VALUES (1, 'a'), (2, 'b');
UPDATE moved SET id = 10, name = 'c' WHERE id = 1;
UPDATE moved SET id = 11 WHERE id = 10;
SELECT architect.audit_restore('moved', '11', 2);
SELECT * FROM moved ORDER BY id;
SELECT architect.audit_restore('moved', '1', 1);
SELECT * FROM moved ORDER BY id;
UPDATE moved SET id = 20 WHERE id = 2;
INSERT INTO moved VALUES (2, 'another');
-- fails: another row has the key
SELECT architect.audit_restore('moved', '20', 1);
-- A key that was used again: the row that has it now.
DELETE FROM moved WHERE id = 2;
INSERT INTO moved VALUES (2, 'third');
SELECT version, operation, record FROM architect.audit_history('moved', '2');
SELECT architect.audit_restore('moved', '2', 3);
SELECT * FROM moved ORDER BY id;

-- Several key columns, partitions, identity.
CREATE TABLE sale (id integer GENERATED ALWAYS AS IDENTITY, year integer, note text, PRIMARY KEY (id, year))
    PARTITION BY LIST (year);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES IN (2);
SELECT architect.audit_enable('sale', truncate => 'rows');
INSERT INTO sale (year, note) VALUES (1, 'a');
UPDATE sale SET note = 'b';
SELECT architect.audit_restore('sale', '["1", "1"]', 1);
TRUNCATE sale;
SELECT architect.audit_restore('sale', '["1", "1"]', 2);
SELECT tableoid::regclass, * FROM sale;

-- Renamed columns are followed, dropped ones left out, and those added since stay as they are.
ALTER TABLE sale RENAME note TO remark;
ALTER TABLE sale ADD extra integer DEFAULT 5;
SELECT architect.audit_restore('sale', '["1", "1"]', 1);
TABLE sale;
ALTER TABLE sale DROP remark;
SELECT architect.audit_restore('sale', '["1", "1"]', 2);

-- fails: the log does not have the whole row
CREATE TABLE late (id integer PRIMARY KEY, name text, stock integer);
INSERT INTO late VALUES (1, 'a', 1);
SELECT architect.audit_enable('late');
UPDATE late SET stock = 2;
UPDATE late SET stock = 3;
SELECT architect.audit_restore('late', '1', 1);
-- With the end of the row it has.
DELETE FROM late;
SELECT architect.audit_restore('late', '1', 1);
TABLE late;

-- Where the key was changed since, the log names other rows, and nothing that is older can be set back.
CREATE TABLE turned (id integer PRIMARY KEY, code text NOT NULL UNIQUE, a text);
SELECT architect.audit_enable('turned');
INSERT INTO turned VALUES (1, '2', 'a'), (2, '1', 'b');
UPDATE turned SET a = 'x' WHERE id = 1;
SELECT transaction_id AS wrong FROM architect.audit_log WHERE table_name = 'turned' AND operation = 'UPDATE' \gset
SELECT architect.audit_enable('turned', key => '{code}');
-- fails: for this key
SELECT * FROM architect.audit_undo_plan(:'wrong');
SELECT architect.audit_undo(:'wrong', force => true);
SELECT architect.audit_restore('turned', '1', 1);
UPDATE turned SET a = 'y' WHERE code = '1';
DELETE FROM turned WHERE code = '1';
SELECT version, operation, record FROM architect.audit_history('turned', '1');
SELECT architect.audit_restore('turned', '1', 3);
SELECT * FROM turned ORDER BY id;
-- With the former key it goes again.
SELECT architect.audit_enable('turned');
SELECT architect.audit_undo(:'wrong');
SELECT * FROM turned ORDER BY id;

-- fails: no such version, no such record, not the owner, a table never audited, a partition
SELECT architect.audit_restore('late', '1', 99);
SELECT architect.audit_restore('late', '1', 0);
SELECT architect.audit_restore('late', 'nobody', 1);
CREATE TABLE plain (id integer PRIMARY KEY);
SELECT architect.audit_restore('plain', '1', 1);
SELECT architect.audit_restore('sale_1', '["1", "1"]', 1);
SET SESSION AUTHORIZATION regress_restore_other;
SELECT architect.audit_restore((SELECT oid FROM pg_class WHERE relname = 'late'), '1', 1);
SET SESSION AUTHORIZATION regress_restore_owner;
SELECT architect.audit_restore('late', '1', NULL) IS NULL AS nothing;

-- Whoever looks at the history or the plan, or erases, runs no code of the table's owner; a restore does, like any UPDATE.
CREATE FUNCTION own(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'regress_restore_owner' THEN
        RAISE NOTICE 'taken in by a superuser';
    END IF;
    RETURN true;
END
$$;
CREATE FUNCTION same(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM audit_restore.own($1); RETURN $1; END';
CREATE DOMAIN mine AS text CHECK (audit_restore.own(value));
CREATE TABLE trap (id mine PRIMARY KEY, a mine, b text GENERATED ALWAYS AS (same(a)) STORED);
CREATE INDEX ON trap (same(a));
ALTER TABLE trap ENABLE ROW LEVEL SECURITY;
ALTER TABLE trap FORCE ROW LEVEL SECURITY;
CREATE POLICY trap ON trap USING (own(a));
SELECT architect.audit_enable('trap');
INSERT INTO trap VALUES ('x', '1');
ALTER TABLE trap RENAME a TO c;
UPDATE trap SET c = '2';
RESET SESSION AUTHORIZATION;
SELECT version, record FROM architect.audit_history('trap', 'x');
SELECT count(*) FROM architect.audit_undo_plan((SELECT max(transaction_id) FROM architect.audit_log));
SELECT architect.audit_erase('trap', 'x', '{b}');
SELECT architect.audit_restore('trap', 'x', 1);

SET client_min_messages = warning;
DROP SCHEMA audit_restore CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_restore_owner, regress_restore_other;
