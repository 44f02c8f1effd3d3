-- What an attacker tries: to write the log, to read what is not his, to get
-- rights by way of the audit, to change data unseen.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_security_owner;
CREATE ROLE regress_security_heir;
CREATE ROLE regress_security_app;
CREATE ROLE regress_security_other;
CREATE SCHEMA audit_security AUTHORIZATION regress_security_owner;
GRANT USAGE ON SCHEMA audit_security TO PUBLIC;
GRANT CREATE ON SCHEMA audit_security TO regress_security_app;
CREATE SCHEMA audit_security_other AUTHORIZATION regress_security_other;
SET SESSION AUTHORIZATION regress_security_owner;
CREATE TABLE audit_security.item (id integer PRIMARY KEY, secret text);
CREATE TABLE audit_security.second (id integer PRIMARY KEY);
GRANT INSERT, UPDATE ON audit_security.item TO regress_security_app;
SELECT architect.audit_enable('audit_security.item'), architect.audit_enable('audit_security.second');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_security_other;
CREATE TABLE audit_security_other.item (id integer PRIMARY KEY, secret text);
SELECT architect.audit_enable('audit_security_other.item');
INSERT INTO audit_security_other.item VALUES (1, 'of another');
RESET SESSION AUTHORIZATION;

-- An application that may only write the table is audited without any right of its own.
SET SESSION AUTHORIZATION regress_security_app;
INSERT INTO audit_security.item VALUES (1, 'of the owner');
UPDATE audit_security.item SET secret = 'changed';
-- It sees nothing of the log, for it owns no table.
SELECT count(*) FROM architect.audit_log;
SELECT architect.audit_readable();
-- fails: nobody writes the log, whatever he owns
INSERT INTO architect.audit_log (id) VALUES (1);
-- fails: nobody writes the log
UPDATE architect.audit_log SET changed_by = 'another';
-- fails: nobody writes the log
DELETE FROM architect.audit_log;
-- fails: nobody writes the log
TRUNCATE architect.audit_log;
-- fails: nobody locks it out
BEGIN;
LOCK TABLE architect.audit_log IN ACCESS EXCLUSIVE MODE;
ROLLBACK;
-- fails: nobody changes it
ALTER TABLE architect.audit_log DISABLE ROW LEVEL SECURITY;
-- fails: nobody makes a trigger on it
CREATE TRIGGER spy BEFORE INSERT ON architect.audit_log FOR EACH ROW EXECUTE FUNCTION architect.audit_capture('{}');
-- fails: nor puts anything into our schema
CREATE TABLE architect.mine (id integer);
-- fails: nor makes a partition
CREATE TABLE audit_security.mine PARTITION OF architect.audit_log DEFAULT;
-- fails: nor refers to our tables
CREATE TABLE audit_security.mine (id integer REFERENCES architect.audit_tables);
-- fails: nor fills it by COPY
COPY architect.audit_log FROM STDIN;
\.
-- fails: a partition is not read past the filter
SELECT count(*) FROM architect.audit_log_default;
-- fails: nor written
DELETE FROM architect.audit_log_default;
-- fails: the numbers are not to be spent
SELECT nextval('architect.audit_log_id_seq');
-- fails: nor set back
SELECT setval('architect.audit_log_id_seq', 1);
-- fails: the register
INSERT INTO architect.audit_tables (relation) VALUES ('audit_security.item');
-- fails: the register
DELETE FROM architect.audit_tables;
-- fails: not for everybody
SELECT architect.audit_maintain();
-- fails: private
SELECT architect._audit_prepare('audit_security.item');
-- fails: private
SELECT architect._audit_make_log();
-- fails: not the owner
SELECT architect.audit_disable('audit_security.item');
-- fails: not the owner
ALTER TABLE audit_security.item DISABLE TRIGGER architect_audit;
-- fails: a superuser's setting
SET session_replication_role = replica;
-- fails: a superuser's setting
SET architect.audit_partition = 'day';
RESET SESSION AUTHORIZATION;

-- Each owner reads the rows of his own tables, the superuser all.
SET SESSION AUTHORIZATION regress_security_owner;
SELECT table_schema, operation, new_values FROM architect.audit_log ORDER BY id;
-- fails: for the owner of a table as for all others
DELETE FROM architect.audit_log;
-- A function that tells what it is given is not given rows of others.
CREATE FUNCTION audit_security.tell(jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
SELECT count(*) FROM architect.audit_log WHERE audit_security.tell(new_values);
-- Through a view of his, everyone sees his own rows and no others.
CREATE VIEW audit_security.mine AS SELECT table_schema, operation FROM architect.audit_log ORDER BY id;
GRANT SELECT ON audit_security.mine TO regress_security_other;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_security_other;
SELECT count(*) FROM audit_security.mine;
SELECT table_schema, operation, new_values FROM architect.audit_log ORDER BY id;
-- fails: row security is not his to turn off
SET row_security = off;
SELECT count(*) FROM architect.audit_log;
RESET row_security;
RESET SESSION AUTHORIZATION;
ANALYZE architect.audit_log;
SET SESSION AUTHORIZATION regress_security_other;
SELECT count(*) AS statistics FROM pg_stats WHERE schemaname = 'architect' AND tablename LIKE 'audit\_log%';
RESET SESSION AUTHORIZATION;
SELECT count(*) AS all_rows FROM architect.audit_log;

-- The right to read goes with the table.
ALTER TABLE audit_security.item OWNER TO regress_security_heir;
SET SESSION AUTHORIZATION regress_security_heir;
SELECT operation FROM architect.audit_log ORDER BY id;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_security_owner;
SELECT operation FROM architect.audit_log ORDER BY id;
RESET SESSION AUTHORIZATION;
GRANT regress_security_heir TO regress_security_owner;
SET SESSION AUTHORIZATION regress_security_owner;
SELECT operation FROM architect.audit_log ORDER BY id;
RESET SESSION AUTHORIZATION;

-- Who makes a table of the name of one that was dropped reads nothing of that; the log keeps it.
DROP TABLE audit_security.item;
SET SESSION AUTHORIZATION regress_security_app;
CREATE TABLE audit_security.item (id integer PRIMARY KEY, secret text);
SELECT architect.audit_enable('audit_security.item');
INSERT INTO audit_security.item VALUES (2, 'new');
SELECT operation, new_values FROM architect.audit_log ORDER BY id;
-- A table that goes some other way than by DROP TABLE is forgotten too.
CREATE TYPE audit_security.kind AS (id integer, a text);
CREATE TABLE audit_security.typed OF audit_security.kind (PRIMARY KEY (id));
SELECT architect.audit_enable('audit_security.typed');
DROP TYPE audit_security.kind CASCADE;
RESET SESSION AUTHORIZATION;
SELECT count(*) AS rows_of_dropped_tables FROM architect.audit_log WHERE table_id NOT IN (SELECT table_id FROM architect.audit_tables);
SELECT relation FROM architect.audit_tables WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = relation);

-- What the owner of a table hangs on it never runs with other rights than his.
SET SESSION AUTHORIZATION regress_security_other;
CREATE FUNCTION audit_security_other.who() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_user <> 'regress_security_other' THEN RAISE WARNING 'run as %', current_user; END IF;
    RETURN 1;
END
$$;
CREATE DOMAIN audit_security_other.watched AS integer CHECK (audit_security_other.who() = 1);
CREATE TABLE audit_security_other.trap (id audit_security_other.watched PRIMARY KEY, a integer DEFAULT audit_security_other.who(),
    g integer GENERATED ALWAYS AS (audit_security_other.who()) STORED, CHECK (audit_security_other.who() = 1));
CREATE INDEX ON audit_security_other.trap ((audit_security_other.who()));
CREATE INDEX ON audit_security_other.trap (a) WHERE audit_security_other.who() = 1;
INSERT INTO audit_security_other.trap VALUES (1);
SELECT architect.audit_enable('audit_security_other.trap',
    condition => 'audit_security_other.who() = id::audit_security_other.watched', truncate => 'rows');
INSERT INTO audit_security_other.trap VALUES (2);
UPDATE audit_security_other.trap SET a = 2;
TRUNCATE audit_security_other.trap;
SELECT architect.audit_disable('audit_security_other.trap');
SELECT operation, record_id FROM architect.audit_log WHERE table_name = 'trap' ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_security, audit_security_other CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_security_owner, regress_security_heir, regress_security_app, regress_security_other;
