-- audit_undo sets back what a transaction did, all of it or nothing, and the
-- plan shows the statements and what stands against them.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_undo_owner;
CREATE ROLE regress_undo_other;
CREATE SCHEMA audit_undo AUTHORIZATION regress_undo_owner;
SET SESSION AUTHORIZATION regress_undo_owner;
SET search_path = audit_undo;

CREATE TABLE item (id integer PRIMARY KEY, name text, price numeric(10, 2), doc jsonb);
SELECT architect.audit_enable('item');
INSERT INTO item VALUES (1, 'mug', 9.50, 'null'), (2, 'cup', 4, NULL), (3, 'pot', 1, '{"a": "b"}');
CREATE TABLE before AS TABLE item;

-- Batches go where the order allows; a changed key goes alone.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
UPDATE item SET price = price + 1;
DELETE FROM item WHERE id = 3;
INSERT INTO item VALUES (4, 'it''s a \ backslash', NULL, '"s"'), (5, 'five', 5, '[1, null]');
UPDATE item SET id = 10 WHERE id = 1;
UPDATE item SET doc = NULL WHERE id = 10;
COMMIT;
CREATE TABLE after AS TABLE item;
SELECT step, statement FROM architect.audit_undo_plan(:'wrong');
SELECT step, regexp_replace(why, '\d+ to \d+|id \d+', 'N') AS why, lock, undo, conflict
FROM architect.audit_undo_plan(:'wrong')
WHERE step = 5;

-- What was changed since is a conflict, with both values, and nothing is undone.
UPDATE item SET price = 0 WHERE id = 2;
UPDATE item SET doc = '"t"', name = 'four' WHERE id = 4;
UPDATE item SET name = 'not touched by the transaction' WHERE id = 10;
DELETE FROM item WHERE id = 5;
INSERT INTO item VALUES (3, 'another', 3);
SELECT step, jsonb_array_elements(conflict) AS conflict FROM architect.audit_undo_plan(:'wrong') ORDER BY 1, 2;
-- fails: conflicts
DO $$
BEGIN
    PERFORM architect.audit_undo((SELECT transaction_id FROM architect.audit_log
                                  WHERE operation = 'INSERT' AND record_id = '4'));
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', sqlstate, regexp_replace(sqlerrm, '\d+', 'N');
END
$$;
SELECT count(*) FROM item;

-- By force all goes back; what is gone stays gone where only columns were changed.
BEGIN;
SELECT architect.audit_undo(:'wrong', force => true);
SELECT * FROM item ORDER BY id;
ROLLBACK;
BEGIN;
DELETE FROM item WHERE id = 2;
SELECT architect.audit_undo(:'wrong', force => true);
ROLLBACK;

-- Without conflicts the undo gives what was before, and its own undo what was after.
BEGIN;
TRUNCATE item;
INSERT INTO item TABLE after;
COMMIT;
BEGIN;
SELECT pg_current_xact_id() AS undone \gset
SELECT architect.audit_undo(:'wrong');
SELECT count(*) AS differences FROM (TABLE item EXCEPT TABLE before UNION (TABLE before EXCEPT TABLE item)) AS difference;
COMMIT;
BEGIN;
SELECT pg_current_xact_id() AS redone \gset
SELECT architect.audit_undo(:'undone');
SELECT count(*) AS differences FROM (TABLE item EXCEPT TABLE after UNION (TABLE after EXCEPT TABLE item)) AS difference;
COMMIT;
SELECT architect.audit_undo(:'redone');
SELECT count(*) AS differences FROM (TABLE item EXCEPT TABLE before UNION (TABLE before EXCEPT TABLE item)) AS difference;

-- Only what is left at the end counts.
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
INSERT INTO item VALUES (20, 'a');
UPDATE item SET name = 'b' WHERE id = 20;
DELETE FROM item WHERE id = 20;
UPDATE item SET name = 'b' WHERE id = 1;
UPDATE item SET name = 'c' WHERE id = 1;
DELETE FROM item WHERE id = 2;
INSERT INTO item VALUES (2, 'reused');
COMMIT;
SELECT architect.audit_undo(:'wrong');
SELECT count(*) AS differences FROM (TABLE item EXCEPT TABLE before UNION (TABLE before EXCEPT TABLE item)) AS difference;

-- Unique values are given up before they are taken; with a deferrable key all goes at once.
CREATE TABLE seat (id integer PRIMARY KEY DEFERRABLE, place integer UNIQUE);
SELECT architect.audit_enable('seat');
INSERT INTO seat VALUES (1, 1), (2, 2), (3, 3);
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
UPDATE seat SET place = -place;
UPDATE seat SET place = CASE place WHEN -1 THEN 2 WHEN -2 THEN 3 ELSE 1 END;
UPDATE seat SET id = 3 - id WHERE id < 3;
UPDATE seat SET id = id + 1;
COMMIT;
SELECT step, statement FROM architect.audit_undo_plan(:'wrong');
SELECT architect.audit_undo(:'wrong');
SELECT * FROM seat ORDER BY id;

-- What was not logged cannot be undone, not by force either.
CREATE TABLE keyed (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('keyed', capture => 'keys');
BEGIN;
SELECT pg_current_xact_id() AS wrong \gset
TRUNCATE seat;
INSERT INTO keyed VALUES (1, 'a');
UPDATE keyed SET name = 'b';
COMMIT;
SELECT step, statement, regexp_replace(why, 'id \d+', 'id N') AS why, conflict FROM architect.audit_undo_plan(:'wrong');
DO $$
BEGIN
    PERFORM architect.audit_undo((SELECT transaction_id FROM architect.audit_log
                                  WHERE operation = 'TRUNCATE' AND table_name = 'seat'), force => true);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', sqlstate, regexp_replace(sqlerrm, '\d+', 'N');
END
$$;
-- fails: no such transaction
SELECT architect.audit_undo('3');
SELECT count(*) FROM architect.audit_undo(NULL) AS nothing;

-- fails: not the owner of every table
SET SESSION AUTHORIZATION regress_undo_other;
SELECT * FROM architect.audit_undo_plan(:'wrong');
SELECT architect.audit_undo(:'wrong');
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA audit_undo CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_undo_owner, regress_undo_other;
