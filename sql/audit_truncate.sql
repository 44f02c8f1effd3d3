-- TRUNCATE is one event, every row, or refused, whichever way it comes about.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_truncate_owner;
CREATE ROLE regress_truncate_app;
CREATE SCHEMA audit_truncate AUTHORIZATION regress_truncate_owner;
SET SESSION AUTHORIZATION regress_truncate_owner;
SET search_path = audit_truncate;

-- What the log has got since the last look.
CREATE FUNCTION news()
    RETURNS TABLE (table_name text, operation text, record_id text, old_values jsonb, new_values jsonb, context jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('test.seen', true), ''), '0');
BEGIN
    PERFORM set_config('test.seen', max(log.id)::text, false) FROM architect.audit_log AS log;
    RETURN QUERY
        SELECT log.table_name, log.operation, log.record_id, log.old_values, log.new_values, log.context
        FROM architect.audit_log AS log
        WHERE log.id > seen
        ORDER BY log.id;
END
$$;

CREATE TABLE event (id integer PRIMARY KEY, note text, secret text);
CREATE TABLE rows (id integer PRIMARY KEY, note text, secret text);
CREATE TABLE refused (id integer PRIMARY KEY, note text, secret text);
CREATE TABLE free (id integer PRIMARY KEY);
SELECT architect.audit_enable('event'),
       architect.audit_enable('rows', exclude => '{note}', mask => '{secret}', truncate => 'rows'),
       architect.audit_enable('refused', truncate => 'refuse');
INSERT INTO event VALUES (1, 'n', 's'), (2, 'n', 's');
INSERT INTO rows VALUES (1, 'n', 's'), (2, 'n', 's');
INSERT INTO refused VALUES (1, 'n', 's');
SELECT count(*) FROM news();

-- One event, for an empty table too: TRUNCATE does not look.
TRUNCATE event;
TRUNCATE event;
SELECT * FROM news();

-- Every row, under the rules for columns; an empty table has none.
TRUNCATE rows;
TRUNCATE rows;
SELECT * FROM news();
SELECT architect.audit_enable('rows', capture => 'keys', truncate => 'rows');
INSERT INTO rows VALUES (3), (4);
TRUNCATE rows RESTART IDENTITY;
SELECT * FROM news();

-- Refused, with what can be done instead.
-- fails: TRUNCATE is refused
TRUNCATE refused;
\echo :LAST_ERROR_SQLSTATE
-- fails: TRUNCATE of one of the tables is refused
TRUNCATE free, event, refused;
SELECT count(*) FROM refused;
DELETE FROM refused;
SELECT * FROM news();

-- Several tables in one command, some of them not audited.
INSERT INTO event VALUES (1);
INSERT INTO rows VALUES (5);
TRUNCATE free, rows, event;
SELECT * FROM news();

-- Along a foreign key.
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent);
SELECT architect.audit_enable('parent'), architect.audit_enable('child', truncate => 'rows');
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (10, 1);
-- fails: the child refers to it
TRUNCATE parent;
TRUNCATE parent CASCADE;
SELECT * FROM news() ORDER BY table_name COLLATE "C", operation COLLATE "C";

-- Rows of the same transaction, of a savepoint that is rolled back, and changed ones.
BEGIN;
INSERT INTO rows VALUES (6), (7);
SAVEPOINT a;
TRUNCATE rows;
INSERT INTO rows VALUES (8);
ROLLBACK TO a;
UPDATE rows SET id = 9 WHERE id = 7;
TRUNCATE rows;
TRUNCATE event;
COMMIT;
SELECT operation, record_id FROM news();
BEGIN;
TRUNCATE event;
ROLLBACK;
SELECT * FROM news();

-- Many rows.
INSERT INTO rows SELECT generate_series(1, 3000);
TRUNCATE rows;
SELECT operation, count(*), count(DISTINCT record_id) AS records FROM news() GROUP BY operation ORDER BY operation COLLATE "C";

-- By a role that may truncate the table, and neither read it nor write to the log;
-- row security hides no row from the log.
INSERT INTO rows VALUES (1), (2);
ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA audit_truncate TO regress_truncate_app;
GRANT TRUNCATE ON rows, event, refused TO regress_truncate_app;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_truncate_app;
TRUNCATE rows, event;
-- fails: for him as for the owner
TRUNCATE refused;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_truncate_owner;
SELECT table_name, operation, record_id FROM news();
SELECT changed_by, count(*) FROM architect.audit_log WHERE changed_by <> 'regress_truncate_owner' GROUP BY 1;

-- Disabled, it is free.
SELECT architect.audit_disable('refused');
TRUNCATE refused;
SELECT * FROM news();

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_truncate CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_truncate_owner, regress_truncate_app;
