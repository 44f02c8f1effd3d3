-- An undo minds foreign keys: what the server did to follow them, what it does
-- again, and what has come to refer to a row since.

CREATE EXTENSION pg_architect;
CREATE SCHEMA audit_undo_references;
SET search_path = audit_undo_references;

CREATE TABLE customer (id integer PRIMARY KEY, name text);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customer ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE line (orders integer REFERENCES orders ON UPDATE CASCADE ON DELETE CASCADE, n integer, note text,
                   PRIMARY KEY (orders, n));
CREATE TABLE ticket (id integer PRIMARY KEY, customer integer REFERENCES customer ON UPDATE CASCADE ON DELETE SET NULL);
CREATE TABLE part (id integer PRIMARY KEY, parent integer REFERENCES part ON DELETE CASCADE);
CREATE TABLE loose (id integer PRIMARY KEY, customer integer REFERENCES customer ON DELETE CASCADE);
SELECT architect.audit_enable('customer'), architect.audit_enable('orders'), architect.audit_enable('line'),
       architect.audit_enable('ticket'), architect.audit_enable('part');
INSERT INTO customer VALUES (1, 'a'), (2, 'b'), (3, 'c');
INSERT INTO orders VALUES (10, 1), (11, 1), (20, 2);
INSERT INTO line VALUES (10, 1, 'x'), (10, 2, 'y'), (20, 1, 'z');
INSERT INTO ticket VALUES (1, 1), (2, 2);
INSERT INTO part VALUES (1, NULL), (2, 1), (3, 2), (4, 3);

CREATE VIEW everything AS
    SELECT 'customer' AS table_name, to_jsonb(row) AS row FROM customer AS row
    UNION ALL SELECT 'orders', to_jsonb(row) FROM orders AS row
    UNION ALL SELECT 'line', to_jsonb(row) FROM line AS row
    UNION ALL SELECT 'ticket', to_jsonb(row) FROM ticket AS row
    UNION ALL SELECT 'part', to_jsonb(row) FROM part AS row;
CREATE TABLE before AS TABLE everything;
CREATE VIEW differences AS
    SELECT * FROM ((TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)) AS row;

-- Cascades of both kinds and at several levels, also within one table.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
DELETE FROM customer WHERE id = 1;
UPDATE customer SET id = 22 WHERE id = 2;
UPDATE orders SET id = 200 WHERE id = 20;
DELETE FROM part WHERE id = 1;
COMMIT;
TABLE everything;
SELECT step, statement FROM architect.audit_undo_plan(:'wrong');
BEGIN;
SELECT pg_current_xact_id() AS undone \gset
SELECT architect.audit_undo(:'wrong') > 0 AS undone;
TABLE differences;
COMMIT;

-- Undone twice, and once more.
BEGIN;
SELECT pg_current_xact_id() AS redone \gset
SELECT architect.audit_undo(:'undone') > 0 AS undone;
TABLE everything;
COMMIT;
SELECT architect.audit_undo(:'redone') > 0 AS undone;
TABLE differences;

-- A family in one statement, children first.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
WITH child AS (INSERT INTO orders VALUES (40, 4)), grandchild AS (INSERT INTO line VALUES (40, 1))
INSERT INTO customer VALUES (4, 'd');
COMMIT;
SELECT architect.audit_undo(:'wrong');
TABLE differences;

-- A row that took a key which the server let others follow away goes first.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
INSERT INTO orders VALUES (30, 3);
UPDATE customer SET id = 33 WHERE id = 3;
INSERT INTO customer VALUES (3, 'new');
INSERT INTO orders VALUES (31, 3);
COMMIT;
SELECT step, statement FROM architect.audit_undo_plan(:'wrong');
SELECT architect.audit_undo(:'wrong');
TABLE differences;

-- Rows that have come to refer since, in an audited table and in another, would go along unseen.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
INSERT INTO customer VALUES (5, 'e'), (6, 'f');
INSERT INTO ticket VALUES (5, 5);
COMMIT;
INSERT INTO ticket VALUES (6, 5), (7, 6);
INSERT INTO loose VALUES (1, 5);
SELECT step, conflict FROM architect.audit_undo_plan(:'wrong');
BEGIN;
SELECT architect.audit_undo(:'wrong', force => true);
SELECT * FROM ticket ORDER BY id;
TABLE loose;
ROLLBACK;
DELETE FROM ticket WHERE id > 5;
DELETE FROM loose;
SELECT architect.audit_undo(:'wrong');
TABLE differences;

-- References in a circle need constraints that can wait; they are told to, and checked again.
CREATE TABLE egg (id integer PRIMARY KEY, hen integer);
CREATE TABLE hen (id integer PRIMARY KEY, egg integer REFERENCES egg DEFERRABLE);
ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen DEFERRABLE INITIALLY DEFERRED;
SELECT architect.audit_enable('egg'), architect.audit_enable('hen');
BEGIN;
INSERT INTO egg VALUES (1, 1);
INSERT INTO hen VALUES (1, 1);
COMMIT;
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
SET CONSTRAINTS ALL DEFERRED;
DELETE FROM egg;
DELETE FROM hen;
COMMIT;
SELECT step, statement FROM architect.audit_undo_plan(:'wrong');
SELECT architect.audit_undo(:'wrong');
SELECT * FROM egg, hen;

-- Triggers of the table run under the settings of the caller, as for any change.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % under search_path %, DateStyle %', TG_OP, TG_TABLE_NAME,
        current_setting('search_path'), current_setting('DateStyle');
    RETURN coalesce(new, old);
END
$$;
CREATE TRIGGER tell BEFORE INSERT OR UPDATE OR DELETE ON customer FOR EACH ROW EXECUTE FUNCTION tell();
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
UPDATE customer SET name = 'z' WHERE id = 3;
COMMIT;
SET DateStyle = 'SQL, DMY';
SELECT architect.audit_undo(:'wrong');
RESET DateStyle;

-- fails: a trigger keeps the row as it is
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
UPDATE customer SET name = 'y' WHERE id = 3;
COMMIT;
CREATE TRIGGER keep BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION keep();
SELECT architect.audit_undo(:'wrong');

SET client_min_messages = warning;
DROP SCHEMA audit_undo_references CASCADE;
DROP EXTENSION pg_architect CASCADE;
