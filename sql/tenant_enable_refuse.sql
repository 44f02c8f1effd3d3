-- What cannot be protected is refused, with the reason and what to do; names of
-- every kind are no reason.

CREATE EXTENSION pg_architect;
CREATE ROLE "regress_tenant ""Owner";
CREATE ROLE regress_tenant_other;
CREATE SCHEMA tenant_enable_refuse AUTHORIZATION "regress_tenant ""Owner";
GRANT ALL ON SCHEMA tenant_enable_refuse TO regress_tenant_other;
CREATE FOREIGN DATA WRAPPER regress_tenant_wrapper;
CREATE SERVER regress_tenant_server FOREIGN DATA WRAPPER regress_tenant_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_tenant_server TO "regress_tenant ""Owner";
CREATE COLLATION tenant_enable_refuse.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SET SESSION AUTHORIZATION "regress_tenant ""Owner";
SET search_path = tenant_enable_refuse;
\set SHOW_CONTEXT never

-- Kinds of relations.
CREATE TABLE orders (id integer PRIMARY KEY, tenant_id uuid, amount numeric, loose text COLLATE loose, made timestamptz);
CREATE VIEW order_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW order_matview AS SELECT * FROM orders;
CREATE FOREIGN TABLE order_foreign (tenant_id uuid) SERVER regress_tenant_server;
CREATE TEMPORARY TABLE order_temporary (tenant_id uuid);
CREATE UNLOGGED TABLE order_unlogged (tenant_id uuid);
-- fails: a view
SELECT architect.tenant_enable('order_view');
\echo :LAST_ERROR_SQLSTATE
-- fails: a materialized view
SELECT architect.tenant_enable('order_matview');
-- fails: a foreign table
SELECT architect.tenant_enable('order_foreign');
-- fails: a temporary table
SELECT architect.tenant_enable('order_temporary');
-- fails: an index
SELECT architect.tenant_enable_plan('orders_pkey');
-- fails: a system catalog
SELECT architect.tenant_enable('pg_class');
-- fails: a table of ours
SELECT architect.tenant_enable('architect.tenant_registry');
-- fails: no such number
SELECT architect.tenant_enable(1::oid);
\echo :LAST_ERROR_SQLSTATE
-- fails: no table
SELECT architect.tenant_enable(NULL);
\echo :LAST_ERROR_SQLSTATE
-- fails: no table
SELECT architect.tenant_disable(NULL);
-- fails: a view
SELECT architect.tenant_disable('order_view');
SELECT architect.tenant_enable('order_unlogged');
SELECT architect.tenant_disable('order_unlogged');

-- What other extensions have spread over chunks or nodes.
CREATE TABLE chunks (tenant_id uuid);
CREATE FUNCTION block() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON chunks FOR EACH ROW EXECUTE FUNCTION block();
-- fails: a hypertable
SELECT architect.tenant_enable('chunks');
\echo :LAST_ERROR_SQLSTATE

-- Columns and roles.
-- fails: no such column
SELECT architect.tenant_enable('orders', 'missing');
\echo :LAST_ERROR_SQLSTATE
-- fails: no such column
SELECT architect.tenant_enable('orders', 'TENANT_ID');
-- fails: not a column of the table
SELECT architect.tenant_enable('orders', 'ctid');
-- fails: no type for a tenant
SELECT architect.tenant_enable('orders', 'amount');
\echo :LAST_ERROR_SQLSTATE
-- fails: no type for a tenant
SELECT architect.tenant_enable('orders', 'made');
-- fails: what is equal is not the same
SELECT architect.tenant_enable('orders', 'loose');
\echo :LAST_ERROR_SQLSTATE
-- fails: no such role
SELECT architect.tenant_enable('orders', roles => '{public,missing}');
\echo :LAST_ERROR_SQLSTATE
-- fails: not a role
SELECT architect.tenant_enable('orders', roles => '{regress_tenant_other,NULL}');
\echo :LAST_ERROR_SQLSTATE
-- A policy by our name that is another's is not replaced.
CREATE POLICY architect_tenant ON orders USING (true);
-- fails: it is not ours
SELECT architect.tenant_enable('orders');
\echo :LAST_ERROR_SQLSTATE
DROP POLICY architect_tenant ON orders;
SELECT count(*) AS left_of_it FROM architect.tenant_registry;
SELECT count(*) AS left_of_it FROM pg_class WHERE relnamespace = 'tenant_enable_refuse'::regnamespace AND relrowsecurity;

-- Whoever does not own the table and all below it, whatever else he may.
GRANT ALL ON orders TO regress_tenant_other;
SELECT architect.tenant_enable('orders');
SET SESSION AUTHORIZATION regress_tenant_other;
-- fails: not the owner
SELECT architect.tenant_enable('tenant_enable_refuse.orders');
\echo :LAST_ERROR_SQLSTATE
-- fails: not the owner
SELECT architect.tenant_enable_plan('tenant_enable_refuse.orders');
-- fails: not the owner
SELECT architect.tenant_disable('tenant_enable_refuse.orders');
-- fails: not for him to change
DELETE FROM architect.tenant_registry;
-- fails: not for him to call
SELECT architect._tenant_unregister('tenant_enable_refuse.orders');
RESET SESSION AUTHORIZATION;
CREATE TABLE tree (tenant_id uuid);
CREATE TABLE branch () INHERITS (tree);
ALTER TABLE tree OWNER TO regress_tenant_other;
ALTER TABLE branch OWNER TO "regress_tenant ""Owner";
SET SESSION AUTHORIZATION regress_tenant_other;
-- fails: not the owner of all
SELECT architect.tenant_enable('tenant_enable_refuse.tree');
SET SESSION AUTHORIZATION "regress_tenant ""Owner";
SELECT architect.tenant_disable('orders');

-- Names that need quotes, with signs that mean something to format() and to dollar quotes.
RESET SESSION AUTHORIZATION;
CREATE SCHEMA "My %s $1 ""Schema""" AUTHORIZATION "regress_tenant ""Owner";
SET SESSION AUTHORIZATION "regress_tenant ""Owner";
SET search_path = "My %s $1 ""Schema""";
CREATE TABLE "Kunde %I" ("Mandant %1$s ""Ä""" text, "id %" integer CONSTRAINT "key %s" PRIMARY KEY);
CREATE TABLE "order" ("Id" integer PRIMARY KEY, "select" text, kunde integer CONSTRAINT "by %1$s ""X"" (" REFERENCES "Kunde %I",
                      "Mandant %1$s ""Ä""" text, CONSTRAINT "unique %s" UNIQUE ("select"));
CREATE UNIQUE INDEX "index %I" ON "order" (lower("select") DESC);
CREATE TABLE "part %s" (LIKE "order");
SELECT architect.tenant_enable('"Kunde %I"', 'Mandant %1$s "Ä"', ARRAY['regress_tenant "Owner', 'regress_tenant_other'], fix => true);
SELECT architect.tenant_enable('"order"', 'Mandant %1$s "Ä"', ARRAY['regress_tenant "Owner', 'regress_tenant_other'], fix => true);
SELECT relation, column_name, roles, problem FROM architect.tenant_tables ORDER BY relation::text;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = '"order"'::regclass AND contype <> 'n' ORDER BY conname COLLATE "C";
SELECT pg_get_indexdef('"index %I"'::regclass);
BEGIN;
SELECT architect.tenant_set('ä');
INSERT INTO "Kunde %I" VALUES ('ä', 1);
INSERT INTO "order" VALUES (1, 's', 1, 'ä');
SELECT * FROM "order";
COMMIT;
SELECT architect.tenant_disable('"order"'), architect.tenant_disable('"Kunde %I"');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = '"order"'::regclass AND contype <> 'n' ORDER BY conname COLLATE "C";
SELECT pg_get_indexdef('"index %I"'::regclass);

-- What the plan of uninstalling lists, statement by statement.
SELECT architect.tenant_enable('"Kunde %I"', 'Mandant %1$s "Ä"');
CREATE POLICY own ON "order" USING ("select" = architect.tenant_text());
ALTER TABLE "part %s" ALTER COLUMN "select" SET DEFAULT architect.tenant_text();
RESET SESSION AUTHORIZATION;
\set VERBOSITY terse
-- fails: tables depend on it
DROP EXTENSION pg_architect;
\set VERBOSITY default
SELECT statement, why, lock, undo FROM architect.uninstall_plan();
\set ECHO none
\pset tuples_only on
SELECT statement FROM architect.uninstall_plan() ORDER BY step \gexec
\pset tuples_only off
\set ECHO all
SELECT count(*) AS left_of_it FROM pg_policy;
INSERT INTO "My %s $1 ""Schema""".  "Kunde %I" VALUES (NULL, 2);

SET client_min_messages = warning;
DROP TABLE pg_temp.order_temporary;
DROP SCHEMA tenant_enable_refuse, "My %s $1 ""Schema""" CASCADE;
DROP FOREIGN DATA WRAPPER regress_tenant_wrapper CASCADE;
DROP ROLE "regress_tenant ""Owner", regress_tenant_other;
