-- A tenant column that is added, filled through foreign keys, given its default
-- and made NOT NULL; and what becomes of it afterwards.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_tenant_owner;
CREATE SCHEMA tenant_enable_column AUTHORIZATION regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_enable_column;

CREATE TABLE orders (id integer PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE "Line ""s""" (order_id integer REFERENCES orders, "no" integer, PRIMARY KEY (order_id, "no"));
CREATE TABLE parts (id integer PRIMARY KEY, line_order integer, line_no integer, note text,
                    FOREIGN KEY (line_order, line_no) REFERENCES "Line ""s""");
INSERT INTO orders VALUES (1, '00000000-0000-0000-0000-000000000001'), (2, '00000000-0000-0000-0000-000000000002');
INSERT INTO "Line ""s""" VALUES (1, 1), (2, 1);
INSERT INTO parts VALUES (1, 1, 1), (2, 2, 1), (3, 2, 1);
SELECT architect.tenant_enable('orders');

-- The plan: each statement with its lock and its undo, and which have to be run by themselves.
\x on
SELECT step, statement, lock, undo, transactional, inside <> '' AS inside
FROM architect.tenant_enable_plan('parts', add_column => true) WHERE statement NOT LIKE '% POLICY %';
\x off
-- Through one foreign key, of a table that is protected already; the owner sees its rows for this.
SELECT architect.tenant_enable('"Line ""s"""', add_column => true);
SELECT relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass;
-- Through more than one.
SELECT architect.tenant_enable('parts', add_column => true);
SELECT architect.tenant_enable('parts', add_column => true);
BEGIN;
SELECT architect.tenant_set(uuid '00000000-0000-0000-0000-000000000002');
SELECT * FROM "Line ""s""";
SELECT * FROM parts;
-- New rows are those of the tenant.
INSERT INTO parts VALUES (4);
SELECT id, tenant_id FROM parts WHERE id = 4;
COMMIT;
-- fails: no tenant
INSERT INTO parts VALUES (5);
\d parts

-- The column stays when the table is disabled, and hinders nobody; or it goes.
SELECT architect.tenant_disable('parts');
INSERT INTO parts VALUES (5);
SELECT id, tenant_id FROM parts ORDER BY id;
SELECT architect.tenant_disable('"Line ""s"""', keep_column => false);
\d "Line ""s"""
-- There already, it is filled where it is empty.
ALTER TABLE "Line ""s""" ADD COLUMN tenant_id uuid;
SELECT architect.tenant_enable('"Line ""s"""', add_column => true);
-- fails: a row of nobody
SELECT architect.tenant_enable('parts', add_column => true);
DELETE FROM parts WHERE line_no IS NULL;
SELECT architect.tenant_enable('parts', add_column => true);
SELECT relation, problem FROM architect.tenant_tables ORDER BY relation::text;

-- Where there is more than one way, one has to be named.
CREATE TABLE bills (id integer PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE payments (id integer PRIMARY KEY, order_id integer, other_order integer REFERENCES orders,
                       bill_id integer REFERENCES bills, part_id integer REFERENCES parts,
                       CONSTRAINT by_order FOREIGN KEY (order_id) REFERENCES orders);
INSERT INTO bills VALUES (7, '00000000-0000-0000-0000-000000000002');
INSERT INTO payments VALUES (1, 1, 1, 7, 2);
\set SHOW_CONTEXT never
-- fails: two ways of one length
SELECT architect.tenant_enable('payments', add_column => true);
\echo :LAST_ERROR_SQLSTATE
-- fails: no such foreign key
SELECT architect.tenant_enable('payments', add_column => true, path => '{missing}');
\echo :LAST_ERROR_SQLSTATE
-- fails: it ends too early
CREATE TABLE nothing (id integer PRIMARY KEY);
ALTER TABLE payments ADD COLUMN nothing_id integer REFERENCES nothing;
SELECT architect.tenant_enable('payments', add_column => true, path => '{nothing_id}');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT architect.tenant_enable('payments', add_column => true, path => '{by_order}');
SELECT architect.tenant_set(uuid '00000000-0000-0000-0000-000000000001');
SELECT id FROM payments;
ROLLBACK;
SELECT architect.tenant_enable('payments', add_column => true, path => '{bill_id}');
BEGIN;
SELECT architect.tenant_set(uuid '00000000-0000-0000-0000-000000000002');
SELECT id FROM payments;
COMMIT;

-- Where there is no way, the type is named, and the table is empty or has been filled by hand.
-- fails: no type
SELECT architect.tenant_enable('nothing', add_column => true);
\echo :LAST_ERROR_SQLSTATE
-- fails: no tenant column of such a type
SELECT architect.tenant_enable('nothing', add_column => true, column_type => 'numeric');
SELECT architect.tenant_enable('nothing', 'customer', add_column => true, column_type => 'integer');
\d nothing
BEGIN;
SELECT architect.tenant_set(3);
INSERT INTO nothing VALUES (1);
TABLE nothing;
COMMIT;
CREATE TABLE full_one AS SELECT 1 AS id;
-- fails: whose are its rows?
SELECT architect.tenant_enable('full_one', add_column => true, column_type => 'text');
\echo :LAST_ERROR_SQLSTATE

-- A large table is not locked while it is filled: those statements are for the caller.
CREATE TABLE large (id integer PRIMARY KEY, order_id integer REFERENCES orders);
INSERT INTO large VALUES (1, 1);
-- fails: it would take too long
SELECT architect.tenant_enable('large', add_column => true, online => true);
\echo :LAST_ERROR_SQLSTATE
\pset format unaligned
SELECT step, statement, transactional, inside IS NULL AS is_left
FROM architect.tenant_enable_plan('large', add_column => true, online => true);
\pset format aligned
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_owner;
\set ECHO none
\pset tuples_only on
SELECT statement FROM architect.tenant_enable_plan('large', add_column => true, online => true)
WHERE inside IS NULL ORDER BY step \gexec
\pset tuples_only off
\set ECHO all
SELECT step, statement FROM architect.tenant_enable_plan('large', add_column => true, online => true)
WHERE statement NOT LIKE '% POLICY %';
SELECT architect.tenant_enable('large', add_column => true, online => true);
\d large

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA tenant_enable_column CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_tenant_owner;
