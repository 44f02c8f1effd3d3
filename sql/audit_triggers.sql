-- Changes that the server or a user's trigger makes: foreign keys, BEFORE
-- triggers, deferred triggers, triggers that change audited tables again.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_triggers_owner;
CREATE SCHEMA audit_triggers AUTHORIZATION regress_triggers_owner;
SET SESSION AUTHORIZATION regress_triggers_owner;
SET search_path = audit_triggers;

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

-- Foreign-key actions are changes of the table that they change.
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE cascading (id integer PRIMARY KEY, parent integer REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE emptied (id integer PRIMARY KEY, parent integer REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE);
CREATE TABLE defaulted (id integer PRIMARY KEY, parent integer DEFAULT 0 REFERENCES parent ON DELETE SET DEFAULT);
SELECT architect.audit_enable('parent'), architect.audit_enable('cascading'),
       architect.audit_enable('emptied'), architect.audit_enable('defaulted');
INSERT INTO parent VALUES (0), (1), (2);
INSERT INTO cascading VALUES (10, 1);
INSERT INTO emptied VALUES (20, 1);
INSERT INTO defaulted VALUES (30, 2);
SELECT table_name, count(*) FROM news() GROUP BY table_name ORDER BY table_name COLLATE "C";
UPDATE parent SET id = 3 WHERE id = 1;
SELECT * FROM news() ORDER BY table_name COLLATE "C";
DELETE FROM parent WHERE id = 3;
DELETE FROM parent WHERE id = 2;
SELECT * FROM news() ORDER BY record_id COLLATE "C";

-- What a BEFORE trigger makes of the row is what is logged; a row it drops is not.
CREATE TABLE item (id integer PRIMARY KEY, name text, changes integer NOT NULL DEFAULT 0);
CREATE FUNCTION improve() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RETURN CASE WHEN old.name = 'KEEP' THEN NULL ELSE old END;
    END IF;
    new.name := upper(new.name);
    new.changes := new.changes + 1;
    RETURN CASE WHEN new.name = 'DROP' THEN NULL ELSE new END;
END
$$;
CREATE TRIGGER improve BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION improve();
SELECT architect.audit_enable('item');
INSERT INTO item (id, name) VALUES (1, 'one'), (2, 'drop'), (3, 'keep');
UPDATE item SET name = 'drop' WHERE id = 1;
UPDATE item SET id = 1 WHERE id = 1;
DELETE FROM item;
SELECT * FROM news();
DROP TRIGGER improve ON item;

-- A trigger that changes the record again, before and after ours and within an
-- exception block: the changes of the record ascend as they were made.
CREATE FUNCTION count_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET changes = changes + 1 WHERE id = new.id AND changes < TG_ARGV[0]::integer;
    RETURN NULL;
END
$$;
CREATE FUNCTION count_on_safely() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        UPDATE item SET changes = changes + 1 WHERE id = new.id AND changes < TG_ARGV[0]::integer;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END
$$;
INSERT INTO item VALUES (4, 'four', 0), (5, 'five', 0), (6, 'six', 0);
SELECT count(*) FROM news();
CREATE TRIGGER zz AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION count_on(3);
UPDATE item SET changes = 1 WHERE id = 4;
SELECT * FROM news();
DROP TRIGGER zz ON item;
CREATE TRIGGER zz AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION count_on_safely(3);
UPDATE item SET changes = 1 WHERE id = 5;
SELECT * FROM news();
DROP TRIGGER zz ON item;
-- Before ours it changes the row first, and ours sees both changes with the later one first:
-- each entry says rightly what became of what.
CREATE TRIGGER aa AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION count_on(2);
UPDATE item SET changes = 1 WHERE id = 6;
SELECT * FROM news() ORDER BY old_values ->> 'changes' COLLATE "C";
DROP TRIGGER aa ON item;

-- A statement of thousands of rows, for each of which a trigger writes to another
-- audited table within an exception block.
CREATE TABLE source (id integer PRIMARY KEY);
CREATE TABLE copy (id integer PRIMARY KEY);
CREATE FUNCTION copy_safely() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO copy VALUES (new.id);
        IF new.id % 10 = 0 THEN
            RAISE division_by_zero;
        END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END
$$;
CREATE TRIGGER zz AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION copy_safely();
SELECT architect.audit_enable('source'), architect.audit_enable('copy');
INSERT INTO source SELECT generate_series(1, 2500);
SELECT table_name, operation, count(*), count(DISTINCT record_id) AS records FROM news() GROUP BY 1, 2 ORDER BY table_name COLLATE "C";

-- Triggers of a table that is not audited run in the midst of the statement: they see
-- what is logged so far, and a failure that they catch takes nothing else with it.
CREATE TABLE top (id integer PRIMARY KEY);
CREATE TABLE below (id integer PRIMARY KEY, top integer REFERENCES top ON DELETE CASCADE);
CREATE TABLE beside (id integer PRIMARY KEY, top integer REFERENCES top ON DELETE CASCADE);
CREATE TABLE kind (id integer PRIMARY KEY);
CREATE TABLE limited (id integer PRIMARY KEY, kind integer REFERENCES kind);
CREATE FUNCTION fail_safely() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO limited VALUES (old.id, 1), (old.id + 1, 2);
    EXCEPTION WHEN foreign_key_violation THEN
        INSERT INTO limited VALUES (old.id, 1);
    END;
    RETURN NULL;
END
$$;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% deleted so far', (SELECT count(*) FROM architect.audit_log WHERE table_name = 'top' AND operation = 'DELETE');
    RETURN NULL;
END
$$;
CREATE TRIGGER below AFTER DELETE ON below FOR EACH ROW EXECUTE FUNCTION fail_safely();
CREATE TRIGGER beside AFTER DELETE ON beside FOR EACH ROW EXECUTE FUNCTION tell();
SELECT architect.audit_enable('top'), architect.audit_enable('limited');
INSERT INTO kind VALUES (1);
INSERT INTO top VALUES (1), (2), (3), (4);
INSERT INTO below VALUES (10, 1), (20, 2);
INSERT INTO beside VALUES (30, 3), (40, 4);
SELECT count(*) FROM news();
DELETE FROM top WHERE id IN (1, 2);
DELETE FROM top WHERE id IN (3, 4);
SELECT table_name, operation, record_id FROM news() ORDER BY record_id COLLATE "C";

-- A deferred trigger changes rows at the end of the transaction, under its actor.
CREATE FUNCTION at_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET name = name || ' at the end' WHERE id = new.id AND name NOT LIKE '% at the end';
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER at_end AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_end();
BEGIN;
SELECT architect.audit_set_actor('late');
UPDATE item SET name = 'vier' WHERE id = 4;
UPDATE item SET name = 'fuenf' WHERE id = 5;
SELECT * FROM news();
COMMIT;
SELECT * FROM news();
SELECT count(*) FROM architect.audit_log WHERE changed_by = 'late';
-- In a transaction that does nothing else, and when it is wanted earlier.
UPDATE item SET name = 'sechs' WHERE id = 6;
BEGIN;
UPDATE item SET name = 'six' WHERE id = 6;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT * FROM news();
COMMIT;
-- What it raises takes all with it.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not at the end'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
-- fails: the deferred trigger
DELETE FROM item WHERE id = 6;
SELECT * FROM news();

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_triggers CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_triggers_owner;
