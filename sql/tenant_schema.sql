-- tenant_enable_schema protects what has the column and says what has not; new
-- tables, partitions and children follow, and the register keeps up with names.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_tenant_owner;
CREATE ROLE regress_tenant_other;
CREATE SCHEMA tenant_schema AUTHORIZATION regress_tenant_owner;
GRANT ALL ON SCHEMA tenant_schema TO regress_tenant_other;
CREATE FOREIGN DATA WRAPPER regress_tenant_wrapper;
CREATE SERVER regress_tenant_server FOREIGN DATA WRAPPER regress_tenant_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_tenant_server TO regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_other;
CREATE TABLE tenant_schema.foreign_owned (id integer, tenant_id uuid);
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_schema;

CREATE TABLE orders (id integer PRIMARY KEY, tenant_id uuid);
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE amounts (id integer, tenant_id numeric);
CREATE TABLE events (id integer, tenant_id uuid) PARTITION BY LIST (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1) PARTITION BY HASH (tenant_id);
CREATE TABLE events_1_0 PARTITION OF events_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE base (id integer, tenant_id uuid);
CREATE TABLE derived (extra text) INHERITS (base);
CREATE FOREIGN TABLE remote (id integer, tenant_id uuid) SERVER regress_tenant_server;
CREATE VIEW order_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW order_copy AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW order_count AS SELECT count(*) FROM orders;

SELECT * FROM architect.tenant_enable_schema('tenant_schema');
SELECT relation, column_name, kind, problem FROM architect.tenant_tables ORDER BY relation::text;
SELECT * FROM architect.tenant_enable_schema('tenant_schema') WHERE result LIKE '%protected';
SELECT schema_name, column_name, roles FROM architect.tenant_schemas;

-- By itself each table of the tree is as closed as the top.
INSERT INTO base SELECT 1, NULL WHERE false;
SELECT count(*) AS closed
FROM pg_class
WHERE relnamespace = 'tenant_schema'::regnamespace AND relrowsecurity AND relforcerowsecurity;
-- fails: it goes with the top
SELECT architect.tenant_disable('events_1');
-- fails: it goes with the top
SELECT architect.tenant_enable('derived');

-- New partitions and children are protected when they come, whatever the setting.
CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2);
CREATE TABLE events_3 (id integer, tenant_id uuid) PARTITION BY LIST (id);
CREATE TABLE events_3_3 PARTITION OF events_3 DEFAULT;
ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES IN (3);
CREATE TABLE more () INHERITS (derived);
CREATE TABLE joined (id integer, tenant_id uuid);
ALTER TABLE joined INHERIT base;
CREATE FOREIGN TABLE events_4 PARTITION OF events FOR VALUES IN (4) SERVER regress_tenant_server;
SELECT relation, problem FROM architect.tenant_tables ORDER BY relation::text;
DROP FOREIGN TABLE events_4;
-- A role under another name is the same role.
RESET SESSION AUTHORIZATION;
SELECT architect.tenant_enable('tenant_schema.events', roles => '{regress_tenant_other}');
ALTER ROLE regress_tenant_other RENAME TO regress_tenant_another;
CREATE TABLE tenant_schema.events_5 PARTITION OF tenant_schema.events FOR VALUES IN (5);
SELECT relation, roles, problem FROM architect.tenant_tables WHERE relation::text ~ 'events_[25]$' ORDER BY relation::text;
SELECT architect.tenant_enable('tenant_schema.events', roles => '{regress_tenant_another}');
SELECT count(*), count(problem) AS problems FROM architect.tenant_tables WHERE roles = '{regress_tenant_another}';
ALTER ROLE regress_tenant_another RENAME TO regress_tenant_other;
SELECT architect.tenant_enable('tenant_schema.events');
DROP TABLE tenant_schema.events_5;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_schema;
-- One that leaves stays protected, and can then be disabled by itself.
ALTER TABLE events DETACH PARTITION events_2;
SELECT relation, problem FROM architect.tenant_tables WHERE relation = 'events_2'::regclass;
SELECT architect.tenant_disable('events_2');
SELECT count(*) AS policies FROM pg_policy WHERE polrelid = 'events_2'::regclass;
-- Dropped tables leave the register.
DROP TABLE events_2, joined, more;
SELECT relation FROM architect.tenant_tables ORDER BY relation::text;

-- Renamed tables and columns are followed, to the last of the tree.
ALTER TABLE orders RENAME TO sales;
ALTER TABLE sales RENAME COLUMN tenant_id TO "Owner ""X""";
ALTER TABLE events RENAME COLUMN tenant_id TO customer;
ALTER VIEW base RENAME COLUMN tenant_id TO customer;
SELECT relation, column_name, problem FROM architect.tenant_tables ORDER BY relation::text;
SELECT architect.tenant_enable('sales'), architect.tenant_enable('events');
SELECT architect.tenant_disable('sales'), architect.tenant_disable('base');
SELECT relation, column_name FROM architect.tenant_tables ORDER BY relation::text;
CREATE TYPE typed_row AS (id integer, tenant_id uuid);
CREATE TABLE typed OF typed_row;
SELECT architect.tenant_enable('typed');
ALTER TYPE typed_row RENAME ATTRIBUTE tenant_id TO customer CASCADE;
SELECT relation, column_name, problem FROM architect.tenant_tables WHERE relation = 'typed'::regclass;
DROP TYPE typed_row CASCADE;
SELECT count(*) AS stale FROM architect.tenant_registry WHERE relation NOT IN (SELECT oid FROM pg_class);

-- New tables of the schema follow where the setting says so.
CREATE TABLE fresh_0 (id integer, tenant_id uuid);
-- fails: only a superuser sets it
SET architect.tenant_protect_new = on;
RESET SESSION AUTHORIZATION;
SET architect.tenant_protect_new = on;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_schema;
CREATE TABLE fresh_1 (id integer, tenant_id uuid);
CREATE TABLE fresh_2 AS SELECT 1 AS id, NULL::uuid AS tenant_id;
SELECT 1 AS id, NULL::uuid AS tenant_id INTO fresh_3;
CREATE TABLE fresh_4 (id integer);
CREATE TABLE fresh_5 (id integer, tenant_id numeric);
CREATE TEMPORARY TABLE fresh_6 (id integer, tenant_id uuid);
CREATE TABLE fresh_7 (id integer, tenant_id uuid) PARTITION BY LIST (id);
CREATE TABLE fresh_7_1 PARTITION OF fresh_7 DEFAULT;
SELECT relation, problem FROM architect.tenant_tables WHERE relation::text LIKE 'fresh%' ORDER BY relation::text;
-- With the column it counts as new; other changes leave alone what is open.
ALTER TABLE fresh_4 ADD COLUMN note text, ADD COLUMN tenant_id uuid;
ALTER TABLE fresh_0 ADD COLUMN note text;
SELECT architect.tenant_disable('fresh_1');
ALTER TABLE fresh_1 ADD COLUMN note text;
SELECT relation, problem FROM architect.tenant_tables WHERE relation::text LIKE 'fresh%' ORDER BY relation::text;
-- The schema is known under its new name; what is moved there is new to it.
RESET SESSION AUTHORIZATION;
ALTER SCHEMA tenant_schema RENAME TO "Tenant ""Schema""";
CREATE SCHEMA tenant_schema AUTHORIZATION regress_tenant_owner
    CREATE TABLE elsewhere (id integer, tenant_id uuid);
GRANT ALL ON SCHEMA tenant_schema TO regress_tenant_owner;
ALTER TABLE tenant_schema.elsewhere OWNER TO regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = "Tenant ""Schema""";
ALTER TABLE tenant_schema.elsewhere SET SCHEMA "Tenant ""Schema""";
SELECT relation, problem FROM architect.tenant_tables WHERE relation::text = 'elsewhere';

-- The way back.
SELECT relation, result, detail FROM architect.tenant_disable_schema('"Tenant ""Schema"""');
SELECT count(*) AS left_of_it FROM architect.tenant_registry;
SELECT count(*) AS left_of_it FROM architect.tenant_schemas;
SELECT count(*) AS left_of_it FROM pg_class
WHERE relnamespace = '"Tenant ""Schema"""'::regnamespace AND (relrowsecurity OR relforcerowsecurity);
CREATE TABLE fresh_8 (id integer, tenant_id uuid);

\set SHOW_CONTEXT never
-- Whose schema it is not, and what is no schema.
SET SESSION AUTHORIZATION regress_tenant_other;
-- fails: not the owner
SELECT * FROM architect.tenant_enable_schema('"Tenant ""Schema"""');
\echo :LAST_ERROR_SQLSTATE
-- fails: not the owner
SELECT * FROM architect.tenant_disable_schema('"Tenant ""Schema"""');
RESET SESSION AUTHORIZATION;
-- fails: no schema
SELECT * FROM architect.tenant_enable_schema(NULL);
-- fails: no such number
SELECT * FROM architect.tenant_enable_schema(1::oid::regnamespace);
\set VERBOSITY terse
-- fails: not a schema of a user
SELECT * FROM architect.tenant_enable_schema('pg_catalog');
-- fails: our own
SELECT * FROM architect.tenant_enable_schema('architect');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default

SET client_min_messages = warning;
DROP TABLE pg_temp.fresh_6;
DROP SCHEMA "Tenant ""Schema""", tenant_schema CASCADE;
DROP FOREIGN DATA WRAPPER regress_tenant_wrapper CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_tenant_owner, regress_tenant_other;
