-- Who the log says has changed a row: the actor of this transaction, else the
-- session user; never a name from another transaction.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_actor_owner;
CREATE ROLE regress_actor_app;
CREATE ROLE regress_actor_group;
GRANT regress_actor_group TO regress_actor_app;
CREATE SCHEMA audit_actor AUTHORIZATION regress_actor_owner;
SET SESSION AUTHORIZATION regress_actor_owner;
SET search_path = audit_actor;
CREATE TABLE item (id integer PRIMARY KEY, who text);
GRANT USAGE ON SCHEMA audit_actor TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO regress_actor_app, regress_actor_group;
SELECT architect.audit_enable('item');
CREATE FUNCTION put(integer) RETURNS void LANGUAGE sql AS 'INSERT INTO audit_actor.item VALUES ($1)';
CREATE FUNCTION put_as_owner(integer) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO audit_actor.item VALUES ($1)';
CREATE VIEW told AS SELECT record_id, changed_by, session_role, context FROM architect.audit_log;

-- Without an actor it is the session user, whatever the current user is.
INSERT INTO item VALUES (1);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_actor_app;
INSERT INTO audit_actor.item VALUES (2);
SET ROLE regress_actor_group;
INSERT INTO audit_actor.item VALUES (3);
RESET ROLE;
SELECT audit_actor.put_as_owner(4);
RESET SESSION AUTHORIZATION;
SET ROLE regress_actor_owner;
INSERT INTO item VALUES (5);
RESET ROLE;
SELECT record_id, replace(changed_by, current_user, 'the superuser') AS changed_by, session_role, context
FROM architect.audit_log ORDER BY id;

-- With one, it is he, and the session user stands beside him.
SET SESSION AUTHORIZATION regress_actor_app;
BEGIN;
INSERT INTO audit_actor.item VALUES (10);
SELECT architect.audit_set_actor('alice', '{"request": "r-1", "nested": {"a": [1]}}');
INSERT INTO audit_actor.item VALUES (11);
SELECT audit_actor.put_as_owner(12);
SET LOCAL ROLE regress_actor_group;
INSERT INTO audit_actor.item VALUES (13);
SELECT architect.audit_set_actor('bob');
INSERT INTO audit_actor.item VALUES (14);
SELECT architect.audit_set_actor(NULL, '{"only": "context"}');
INSERT INTO audit_actor.item VALUES (15);
SELECT architect.audit_set_actor(NULL);
INSERT INTO audit_actor.item VALUES (16);
SELECT architect.audit_set_actor('carol', '{}');
INSERT INTO audit_actor.item VALUES (17);
COMMIT;
-- The next transaction of the session knows nothing of it, after a rollback as well.
INSERT INTO audit_actor.item VALUES (18);
BEGIN;
SELECT architect.audit_set_actor('dave', '{"a": 1}');
ROLLBACK;
INSERT INTO audit_actor.item VALUES (19);
-- Nor does one that is ended by an error, or by the end of a statement of its own.
BEGIN;
SELECT architect.audit_set_actor('erin');
-- fails: there is no such column
SELECT missing;
COMMIT;
INSERT INTO audit_actor.item VALUES (20);
SELECT architect.audit_set_actor('frank');
INSERT INTO audit_actor.item VALUES (21);
SELECT architect.audit_set_actor('grace'), audit_actor.put(22);
SELECT architect.audit_set_actor('heidi')\; INSERT INTO audit_actor.item VALUES (23)\; COMMIT\; INSERT INTO audit_actor.item VALUES (24);
DO $$ BEGIN PERFORM architect.audit_set_actor('ivan'); INSERT INTO audit_actor.item VALUES (25); COMMIT; INSERT INTO audit_actor.item VALUES (26); END $$;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_actor_owner;
SELECT * FROM told WHERE record_id >= '10' AND length(record_id) = 2 ORDER BY record_id;

-- A savepoint that is rolled back takes its actor along, one that is released leaves him.
BEGIN;
SELECT architect.audit_set_actor('outer');
SAVEPOINT a;
SELECT architect.audit_set_actor('inner');
INSERT INTO item VALUES (30);
ROLLBACK TO a;
INSERT INTO item VALUES (31);
SELECT architect.audit_set_actor('second');
SAVEPOINT b;
SELECT architect.audit_set_actor('third');
RELEASE b;
RELEASE a;
INSERT INTO item VALUES (32);
SAVEPOINT c;
SAVEPOINT d;
SELECT architect.audit_set_actor('fourth');
RELEASE d;
ROLLBACK TO c;
INSERT INTO item VALUES (33);
COMMIT;
DO $$
BEGIN
    PERFORM architect.audit_set_actor('block');
    BEGIN
        PERFORM architect.audit_set_actor('undone');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    INSERT INTO item VALUES (34);
END
$$;
SELECT * FROM told WHERE record_id LIKE '3_' ORDER BY record_id;

-- Nobody can pass for another without a trace: the session role is always there.
BEGIN;
SELECT architect.audit_set_actor('regress_actor_app');
INSERT INTO item VALUES (40);
COMMIT;
SELECT * FROM told WHERE record_id = '40';

-- fails: an actor has a name
SELECT architect.audit_set_actor('');
\echo :LAST_ERROR_SQLSTATE
-- fails: a context is an object
SELECT architect.audit_set_actor('alice', '[1]');
\echo :LAST_ERROR_SQLSTATE
-- fails: a context is an object
SELECT architect.audit_set_actor('alice', '"text"');
-- fails: a context is an object
SELECT architect.audit_set_actor('alice', 'null');
-- A long name, one with every kind of character.
BEGIN;
SELECT architect.audit_set_actor(repeat('long', 1000));
INSERT INTO item VALUES (41);
SELECT architect.audit_set_actor(E'O''Neil "x" \\ \n Ünï');
INSERT INTO item VALUES (42);
COMMIT;
SELECT record_id, length(changed_by), changed_by = E'O''Neil "x" \\ \n Ünï' AS exact FROM told WHERE record_id IN ('41', '42') ORDER BY 1;

-- What the server knows itself is added if the administrator asks for it, and cannot be forged.
-- fails: the administrator only
SET architect.audit_context = 'application_name';
RESET SESSION AUTHORIZATION;
-- fails: no such word
SET architect.audit_context = 'application_name, query';
-- fails: no list
SET architect.audit_context = 'application_name,,client_address';
SET architect.audit_context = 'application_name, client_address';
SET application_name = 'the "app"';
INSERT INTO item VALUES (50);
BEGIN;
SELECT architect.audit_set_actor('alice', '{"application_name": "forged", "request": "r-2"}');
INSERT INTO item VALUES (51);
SAVEPOINT a;
SET LOCAL application_name = 'another';
INSERT INTO item VALUES (52);
ROLLBACK TO a;
INSERT INTO item VALUES (53);
SET LOCAL application_name = 'another';
INSERT INTO item VALUES (54);
SET LOCAL architect.audit_context = '';
INSERT INTO item VALUES (55);
COMMIT;
INSERT INTO item VALUES (56);
SELECT record_id, changed_by = 'alice' AS alice, context - 'client_address' AS context
FROM architect.audit_log WHERE record_id LIKE '5_' ORDER BY record_id;
RESET architect.audit_context;

-- A role that is renamed in the middle of a session is known by its new name.
SET SESSION AUTHORIZATION regress_actor_app;
INSERT INTO audit_actor.item VALUES (60);
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_actor_app RENAME TO regress_actor_renamed;
SET SESSION AUTHORIZATION regress_actor_renamed;
INSERT INTO audit_actor.item VALUES (61);
RESET SESSION AUTHORIZATION;
SELECT record_id, changed_by FROM architect.audit_log WHERE record_id LIKE '6_' ORDER BY record_id;

-- What the log says of an event itself, an application cannot say.
BEGIN;
SELECT architect.audit_set_actor('gina', '{"partition": "p", "updated_row": {"id": 1}, "backfill_job": 7, "step": 7}');
UPDATE audit_actor.item SET id = 70 WHERE id = 60;
TRUNCATE audit_actor.item;
COMMIT;
SELECT operation, context FROM architect.audit_log WHERE changed_by = 'gina' ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA audit_actor CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_actor_owner, regress_actor_renamed, regress_actor_group;
