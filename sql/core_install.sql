-- The extension takes over nothing that was there before, destroys nothing in
-- silence, and goes without a trace when its own plan is followed.

CREATE ROLE regress_install_owner;
CREATE ROLE regress_install_squatter;

-- A schema with our name that somebody made beforehand is not taken over, nor
-- is what stands in it.
CREATE SCHEMA architect AUTHORIZATION regress_install_squatter;
SET SESSION AUTHORIZATION regress_install_squatter;
CREATE TABLE architect.audit_tables (table_id integer, relation regclass);
CREATE FUNCTION architect.version() RETURNS text LANGUAGE sql AS $$ SELECT 'squatted' $$;
RESET SESSION AUTHORIZATION;
\set VERBOSITY terse
-- fails: the schema exists
CREATE EXTENSION pg_architect;
-- fails: the schema exists
CREATE EXTENSION IF NOT EXISTS pg_architect;
-- fails: the place is fixed
CREATE EXTENSION pg_architect SCHEMA public;
-- Nothing of ours came, and what was there is as it was.
SELECT count(*) AS extensions FROM pg_extension WHERE extname = 'pg_architect';
SELECT count(*) AS event_triggers FROM pg_event_trigger WHERE evtname LIKE 'architect%';
SELECT proname, pg_get_userbyid(proowner) AS owner FROM pg_proc WHERE pronamespace = 'architect'::regnamespace;
SELECT architect.version();
SET client_min_messages = warning;
DROP SCHEMA architect CASCADE;
RESET client_min_messages;

-- An empty schema of that name is no different.
CREATE SCHEMA architect;
-- fails: the schema exists
CREATE EXTENSION pg_architect;
DROP SCHEMA architect;
\set VERBOSITY default

-- fails: the library is C, so a superuser has to install it
SET SESSION AUTHORIZATION regress_install_owner;
CREATE EXTENSION pg_architect;
RESET SESSION AUTHORIZATION;

-- A fresh install has no log, audits nothing and needs one statement to go.
CREATE EXTENSION pg_architect;
SELECT architect.version() = extversion AS library_and_sql_agree FROM pg_extension WHERE extname = 'pg_architect';
SELECT to_regclass('architect.audit_log') IS NULL AS no_log_yet;
SELECT * FROM architect.audit_status;
SELECT * FROM architect.audit_tables;
SELECT architect.audit_readable();
SELECT architect.audit_maintain();
SELECT step, statement, why, undo FROM architect.uninstall_plan();

-- Everything but the schema itself and event triggers lives in our schema.
SELECT DISTINCT member.type, split_part(member.identity, '.', 1) AS outside
FROM pg_depend
CROSS JOIN LATERAL pg_identify_object(classid, objid, objsubid) AS member
WHERE refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_architect')
  AND deptype = 'e'
  AND member.schema IS DISTINCT FROM 'architect'
  AND member.identity NOT LIKE 'architect.%'
ORDER BY 1;

-- fails: the schema is fixed
ALTER EXTENSION pg_architect SET SCHEMA public;

-- Dropped and installed again, it is as before.
DROP EXTENSION pg_architect;
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'architect';
SELECT count(*) AS left_behind FROM pg_event_trigger WHERE evtname LIKE 'architect%';
CREATE EXTENSION pg_architect;

-- In use, it is not dropped in passing, and a refused DROP loses nothing.
CREATE SCHEMA core_install AUTHORIZATION regress_install_owner;
SET SESSION AUTHORIZATION regress_install_owner;
CREATE TABLE core_install.orders (id integer PRIMARY KEY, state text);
CREATE TABLE core_install.items (id integer, part integer, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE core_install.items_1 PARTITION OF core_install.items FOR VALUES IN (1);
SELECT architect.audit_enable('core_install.orders', condition => 'state <> ''draft''');
SELECT architect.audit_enable('core_install.items', truncate => 'rows');
INSERT INTO core_install.orders VALUES (1, 'open');
INSERT INTO core_install.items VALUES (1, 1);
RESET SESSION AUTHORIZATION;
\set VERBOSITY terse
-- fails: tables are audited
DROP EXTENSION pg_architect;
-- fails: the extension is in it
DROP SCHEMA architect;
-- fails: the extension is in it
DROP SCHEMA architect CASCADE;
SELECT architect.audit_disable('core_install.orders'), architect.audit_disable('core_install.items');
-- fails: the log has rows
DROP EXTENSION pg_architect;
\set VERBOSITY default
SELECT table_name, operation, record_id FROM architect.audit_log ORDER BY id;

-- The plan lists every trigger on a table of the user, then the data, and last the extension.
SET SESSION AUTHORIZATION regress_install_owner;
SELECT architect.audit_enable('core_install.orders', condition => 'state <> ''draft''');
SELECT architect.audit_enable('core_install.items', truncate => 'rows');
ALTER TABLE core_install.items DETACH PARTITION core_install.items_1;
CREATE TABLE core_install.items_2 PARTITION OF core_install.items FOR VALUES IN (2);
RESET SESSION AUTHORIZATION;
SELECT statement, lock FROM architect.uninstall_plan() ORDER BY statement COLLATE "C";
SELECT array_agg(step) = array_agg(ordinality::integer) AS numbered,
       array_agg(DISTINCT split_part(statement, ' ', 2)) FILTER (WHERE step <= 7) AS first,
       array_agg(statement) FILTER (WHERE step > 7) AS last
FROM architect.uninstall_plan() WITH ORDINALITY;
SELECT undo FROM architect.uninstall_plan() WHERE statement LIKE 'DROP TRIGGER architect_audit ON core_install.orders%';
SELECT bool_and(why <> '' AND lock <> '' AND undo <> '') AS complete FROM architect.uninstall_plan();

-- Statement by statement it succeeds, and the tables go on as if nothing had been.
\set ECHO none
SELECT statement FROM architect.uninstall_plan() ORDER BY step \gexec
\set ECHO all
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'architect';
SELECT count(*) AS left_behind FROM pg_extension WHERE extname = 'pg_architect';
SELECT count(*) AS left_behind FROM pg_event_trigger WHERE evtname LIKE 'architect%';
SELECT count(*) AS left_behind FROM pg_trigger WHERE tgname LIKE 'architect%';
SELECT count(*) AS left_behind FROM pg_class WHERE relname LIKE 'audit\_%';
SET SESSION AUTHORIZATION regress_install_owner;
INSERT INTO core_install.orders VALUES (2, 'open');
UPDATE core_install.orders SET state = 'closed';
DELETE FROM core_install.orders WHERE id = 1;
TRUNCATE core_install.items, core_install.items_1;
CREATE TABLE core_install.items_3 PARTITION OF core_install.items FOR VALUES IN (3);
INSERT INTO core_install.items VALUES (1, 2), (1, 3);
SELECT * FROM core_install.orders;
RESET SESSION AUTHORIZATION;

-- CASCADE is the owner's word: it takes the log and the triggers, not the tables.
CREATE EXTENSION pg_architect;
SELECT architect.audit_enable('core_install.orders');
INSERT INTO core_install.orders VALUES (3, 'open');
SET client_min_messages = warning;
DROP EXTENSION pg_architect CASCADE;
RESET client_min_messages;
SELECT count(*) AS left_behind FROM pg_trigger WHERE tgname LIKE 'architect%';
INSERT INTO core_install.orders VALUES (4, 'open');
SELECT id FROM core_install.orders ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA core_install CASCADE;
DROP ROLE regress_install_owner, regress_install_squatter;
