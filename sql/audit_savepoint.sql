-- What is rolled back is not in the log, and what is not can be read at once:
-- the log is part of the transaction that it describes.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_savepoint_owner;
CREATE SCHEMA audit_savepoint AUTHORIZATION regress_savepoint_owner;
SET SESSION AUTHORIZATION regress_savepoint_owner;
SET search_path = audit_savepoint;
CREATE TABLE item (id integer PRIMARY KEY, n integer);
SELECT architect.audit_enable('item');
-- The changes of a record as one line.
CREATE FUNCTION history(record text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(left(operation, 1) || coalesce(new_values ->> 'n', ''), ' ' ORDER BY id)
    FROM architect.audit_log
    WHERE record_id = record AND table_name = 'item'
$$;

-- A transaction that is rolled back.
BEGIN;
INSERT INTO item VALUES (1, 1);
SELECT history('1');
ROLLBACK;
SELECT history('1');
-- fails: the transaction does, at its last statement
BEGIN;
INSERT INTO item VALUES (1, 1);
INSERT INTO item VALUES (1, 1);
COMMIT;
SELECT history('1');

-- Savepoints, rolled back, released and nested.
BEGIN;
INSERT INTO item VALUES (1, 1);
SAVEPOINT a;
UPDATE item SET n = 2;
SAVEPOINT b;
UPDATE item SET n = 3;
SELECT history('1');
ROLLBACK TO b;
SELECT history('1');
UPDATE item SET n = 4;
RELEASE b;
SAVEPOINT c;
UPDATE item SET n = 5;
RELEASE c;
SELECT history('1');
SAVEPOINT d;
UPDATE item SET n = 6;
ROLLBACK TO d;
ROLLBACK TO d;
UPDATE item SET n = 7;
ROLLBACK TO a;
UPDATE item SET n = 8;
COMMIT;
SELECT history('1');

-- A statement that fails within a savepoint leaves nothing; what went before stays.
BEGIN;
UPDATE item SET n = 9;
SAVEPOINT a;
-- fails: the second row
INSERT INTO item VALUES (2, 1), (1, 1);
ROLLBACK TO a;
INSERT INTO item VALUES (2, 2);
COMMIT;
SELECT history('1'), history('2');

-- Exception blocks, caught inside and outside, in a loop.
DO $$
BEGIN
    UPDATE item SET n = 10 WHERE id = 1;
    BEGIN
        UPDATE item SET n = 11 WHERE id = 1;
        RAISE NOTICE 'inside: %', history('1');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'handler: %', history('1');
        UPDATE item SET n = 12 WHERE id = 1;
    END;
    BEGIN
        BEGIN
            UPDATE item SET n = 13 WHERE id = 1;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
        RAISE NOTICE 'kept so far: %', history('1');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    FOR i IN 14..17 LOOP
        BEGIN
            UPDATE item SET n = i WHERE id = 1;
            IF i % 2 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
    RAISE NOTICE 'at the end: %', history('1');
END
$$;
SELECT history('1');

-- Statements of many rows, rolled back as a whole and in the middle.
CREATE TABLE many (id integer PRIMARY KEY);
SELECT architect.audit_enable('many');
BEGIN;
INSERT INTO many SELECT generate_series(1, 1500);
SAVEPOINT a;
INSERT INTO many SELECT generate_series(2001, 3500);
ROLLBACK TO a;
INSERT INTO many SELECT generate_series(3501, 3510);
COMMIT;
-- fails: the last row
INSERT INTO many SELECT generate_series(7000, 3510, -1);
SELECT count(*), count(DISTINCT record_id) AS records FROM architect.audit_log WHERE table_name = 'many';

-- A procedure that commits halfway.
CREATE PROCEDURE halfway() LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET n = 20 WHERE id = 2;
    COMMIT;
    UPDATE item SET n = 21 WHERE id = 2;
    ROLLBACK;
    UPDATE item SET n = 22 WHERE id = 2;
END
$$;
CALL halfway();
SELECT history('2');

-- The next statement of the same string reads the log: as a transaction of its own, and with others.
INSERT INTO item VALUES (3, 1)\; SELECT history('3')\; UPDATE item SET n = 2 WHERE id = 3\; SELECT history('3');

-- So do a function after its own change, a DO block, and a query that calls it.
CREATE FUNCTION change_and_tell(integer, integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET n = $2 WHERE id = $1;
    RETURN history($1::text);
END
$$;
SELECT change_and_tell(3, 3), change_and_tell(3, 4);
SELECT change_and_tell(3, n) FROM generate_series(5, 6) AS n;
DO $$ BEGIN UPDATE item SET n = 7 WHERE id = 3; RAISE NOTICE '%', history('3'); END $$;

-- A trigger after ours sees the change of its row; in an exception block as well, and at the end of the statement.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% %: %', TG_NAME, TG_LEVEL, history('3');
    RETURN NULL;
END
$$;
CREATE FUNCTION tell_safely() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        RAISE NOTICE '% %: %', TG_NAME, TG_LEVEL, history('3');
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END
$$;
CREATE TRIGGER za AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tell_safely();
CREATE TRIGGER zb AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER zc AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION tell_safely();
UPDATE item SET n = 8 WHERE id = 3;
DROP TRIGGER za ON item;
DROP TRIGGER zb ON item;
DROP TRIGGER zc ON item;

-- A cursor sees what was there when it was opened, like of any table.
BEGIN;
DECLARE before CURSOR FOR
    SELECT new_values ->> 'n' AS n FROM architect.audit_log WHERE record_id = '3' ORDER BY id DESC;
UPDATE item SET n = 9 WHERE id = 3;
DECLARE after CURSOR FOR
    SELECT new_values ->> 'n' AS n FROM architect.audit_log WHERE record_id = '3' ORDER BY id DESC;
FETCH before;
FETCH after;
COMMIT;

-- COPY out, a materialized view and a prepared statement see it.
BEGIN;
UPDATE item SET n = 10 WHERE id = 3;
COPY (SELECT new_values FROM architect.audit_log WHERE record_id = '3' ORDER BY id DESC LIMIT 1) TO STDOUT;
CREATE MATERIALIZED VIEW last AS SELECT new_values FROM architect.audit_log WHERE record_id = '3' ORDER BY id DESC LIMIT 1;
TABLE last;
UPDATE item SET n = 11 WHERE id = 3;
REFRESH MATERIALIZED VIEW last;
TABLE last;
COMMIT;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_savepoint CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_savepoint_owner;
