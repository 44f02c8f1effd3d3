-- Triggers that were not made by audit_enable: by hand, with options that are
-- crafted, in places where they do not belong.  The answer is an error or a
-- harmless entry, and the views of the extension go on for everybody.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_forged_owner;
CREATE SCHEMA audit_forged AUTHORIZATION regress_forged_owner;
SET SESSION AUTHORIZATION regress_forged_owner;
SET search_path = audit_forged;
CREATE TABLE item (id integer PRIMARY KEY, a text, b integer);
CREATE TABLE unknown (id integer PRIMARY KEY);

-- The trigger functions are nothing but trigger functions, each of its own kind.
-- fails: not called as a trigger
SELECT architect.audit_capture();
\echo :LAST_ERROR_SQLSTATE
-- fails: not called as a trigger
SELECT architect.audit_truncate();
-- fails: not an event trigger, and private
SELECT architect._audit_follow_partitions();
CREATE TRIGGER x BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION architect.audit_capture('{}');
-- fails: BEFORE
INSERT INTO item VALUES (1);
DROP TRIGGER x ON item;
CREATE TRIGGER x AFTER INSERT ON item EXECUTE FUNCTION architect.audit_capture('{}');
-- fails: FOR EACH STATEMENT
INSERT INTO item VALUES (1);
DROP TRIGGER x ON item;
CREATE TRIGGER x AFTER TRUNCATE ON item EXECUTE FUNCTION architect.audit_truncate();
-- fails: AFTER
TRUNCATE item;
DROP TRIGGER x ON item;
CREATE TRIGGER x AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION architect.audit_truncate();
-- fails: FOR EACH ROW
INSERT INTO item VALUES (1);
DROP TRIGGER x ON item;
CREATE VIEW item_view AS SELECT * FROM item;
CREATE TRIGGER x INSTEAD OF INSERT ON item_view FOR EACH ROW EXECUTE FUNCTION architect.audit_capture('{}');
-- fails: INSTEAD OF
INSERT INTO item_view VALUES (1);
DROP VIEW item_view;
-- fails: there is no other function of ours that makes a trigger
CREATE TRIGGER x AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION architect.audit_readable();

-- A table that was never enabled has no place in the log.
CREATE TRIGGER architect_audit AFTER INSERT ON unknown FOR EACH ROW EXECUTE FUNCTION architect.audit_capture('{}');
-- fails: there is not even a log
INSERT INTO unknown VALUES (1);
SELECT architect.audit_enable('item');
-- fails: the table is not registered
INSERT INTO unknown VALUES (1);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER architect_audit ON unknown;
CREATE TRIGGER architect_audit_truncate BEFORE TRUNCATE ON unknown EXECUTE FUNCTION architect.audit_truncate();
TRUNCATE unknown;

-- Options of every wrong shape, on a table that is registered.
CREATE FUNCTION try_options(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    came text;
    seen bigint := coalesce((SELECT max(id) FROM architect.audit_log), 0);
BEGIN
    EXECUTE format('CREATE TRIGGER architect_audit AFTER INSERT OR UPDATE OR DELETE ON item
                    FOR EACH ROW EXECUTE FUNCTION architect.audit_capture(%s)', arguments);
    EXECUTE 'CREATE TRIGGER architect_audit_truncate BEFORE TRUNCATE ON item EXECUTE FUNCTION architect.audit_truncate()';
    BEGIN
        INSERT INTO item VALUES (1, 'a', 2);
        UPDATE item SET b = 3;
        DELETE FROM item;
        TRUNCATE item;
        came := 'log: ' || string_agg(concat_ws(' ', left(operation, 1), record_id, old_values, new_values), ', ' ORDER BY id)
                FROM architect.audit_log WHERE id > seen;
    EXCEPTION WHEN OTHERS THEN
        came := SQLSTATE || ': ' || SQLERRM;
    END;
    IF (SELECT count(*) FROM architect.audit_status) <> 1 THEN
        came := came || ' (status: not seen)';
    END IF;
    PERFORM statement FROM architect.uninstall_plan();
    EXECUTE 'DROP TRIGGER architect_audit ON item';
    EXECUTE 'DROP TRIGGER architect_audit_truncate ON item';
    RETURN came;
EXCEPTION WHEN OTHERS THEN
    RETURN 'broken: ' || SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT architect.audit_disable('item');
SELECT left(arguments, 40) AS arguments, left(try_options(arguments), 110) AS outcome
FROM unnest(ARRAY[
    '', $$'{}', '{}'$$, $$''$$, $$'garbage'$$, $$'null'$$, $$'1'$$, $$'"text"'$$, $$'[]'$$, $$'[1, 2, 3]'$$, $$'[["capture", "full"]]'$$, $$'{'$$,
    $$'{}'$$, $$'{"capture": 5}'$$, $$'{"capture": "nothing"}'$$, $$'{"capture": ["full"], "truncate": {}}'$$, $$'{"truncate": null}'$$,
    $$'{"exclude": 5}'$$, $$'{"exclude": "a"}'$$, $$'{"exclude": {"a": 1}}'$$,
    $$'{"exclude": [1, 2, 3]}'$$, $$'{"exclude": [null]}'$$, $$'{"exclude": [["a"]]}'$$,
    $$'{"exclude": [true, {"a": 1}]}'$$, $$'{"exclude": []}'$$, $$'{"exclude": ["missing"]}'$$,
    $$'{"exclude": ["id"]}'$$, $$'{"exclude": ["ctid"]}'$$, $$'{"exclude": [""]}'$$,
    $$'{"exclude": ["a", "b"]}'$$, $$'{"exclude": ["a", "a"]}'$$,
    $$'{"mask": [1.5]}'$$, $$'{"mask": ["id"]}'$$, $$'{"mask": ["a"], "exclude": ["a"]}'$$,
    $$'{"key": [1]}'$$, $$'{"key": ["a"]}'$$, $$'{"key": []}'$$, $$'{"key": ["id", "id"]}'$$,
    $$'{"key": ["id", "missing"]}'$$, $$'{"key_attnums": [1]}'$$,
    $$'{"key": ["id"], "key_attnums": ["a"]}'$$, $$'{"source": 5}'$$, $$'{"source": ["x"]}'$$, $$'{"more": 1}'$$,
    format('%L', '{"exclude": ["' || repeat('x', 1000) || '"]}')]) WITH ORDINALITY AS given (arguments, ordinal)
ORDER BY ordinal;

-- Numbers of columns count where they come with the witness of this very table; that can be copied.
SELECT architect.audit_enable('item', exclude => '{a}');
SELECT substring(encode(tgargs, 'escape') FROM '"source": ("[^"]*")') AS witness
FROM pg_trigger
WHERE tgrelid = 'item'::regclass AND tgname = 'architect_audit' \gset
SELECT architect.audit_disable('item');
SELECT numbers, try_options(format('%L', format('{"exclude": ["a"], "exclude_attnums": %s, "source": %s}', numbers, :'witness')))
FROM unnest('{[2],[3],[],"[2,3]",[0],[-1],[-7],[4],[1000],[32767],[32768],[-32768],[1e10],[2.4],[1e400],
             "[\"2\"]",[null],[[2]],"{\"a\":2}",2,"\"2\"","null",true}'::text[])
     WITH ORDINALITY AS given (numbers, ordinal)
ORDER BY ordinal;
SELECT numbers, try_options(format('%L', format('{"key": ["id"], "key_attnums": %s, "source": %s}', numbers, :'witness')))
FROM unnest('{[1],[2],[0],[-1],[99],[]}'::text[]) WITH ORDINALITY AS given (numbers, ordinal)
ORDER BY ordinal;

-- A second trigger by hand logs a second time, by its own rules, and that is all.
SELECT architect.audit_enable('item');
CREATE TRIGGER again AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION architect.audit_capture('{"capture": "keys"}');
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.b = 0)
    EXECUTE FUNCTION architect.audit_capture('{"capture": "full"}');
INSERT INTO item VALUES (9, 'x', 0);
SELECT operation, record_id, new_values FROM architect.audit_log ORDER BY id DESC LIMIT 3;
SELECT relation, capture, problem FROM architect.audit_status;
-- The plan of what it takes to leave has them too.
RESET search_path;
SELECT statement FROM architect.uninstall_plan() WHERE statement LIKE 'DROP TRIGGER%' ORDER BY statement COLLATE "C";

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_forged CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_forged_owner;
