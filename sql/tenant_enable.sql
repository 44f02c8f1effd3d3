-- tenant_enable protects a table, tenant_disable takes back just that, and what
-- is so already is left alone.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_tenant_owner;
CREATE ROLE regress_tenant_app;
CREATE ROLE regress_tenant_report;
CREATE ROLE regress_tenant_member IN ROLE regress_tenant_owner;
CREATE SCHEMA tenant_enable AUTHORIZATION regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_enable;
GRANT USAGE ON SCHEMA tenant_enable TO PUBLIC;

CREATE TABLE orders (id integer PRIMARY KEY, tenant_id integer, note text);
INSERT INTO orders VALUES (1, 1, 'one'), (2, 2, 'two'), (3, NULL, 'nobody');
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO PUBLIC;
-- What the catalogs say, to see whether a call touches it.
CREATE VIEW policies AS
    SELECT oid, polrelid::regclass AS relation, polname, polpermissive, polcmd, polroles::regrole[] AS roles,
           pg_get_expr(polqual, polrelid) AS "using", pg_get_expr(polwithcheck, polrelid) AS "check"
    FROM pg_policy
    WHERE polrelid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'architect'::regnamespace);

-- The plan shows what is then done.
\x on
SELECT step, statement, lock, undo, transactional FROM architect.tenant_enable_plan('orders');
\x off
SELECT architect.tenant_enable('orders');
SELECT relation, polname, polpermissive, polcmd, roles, "using", "check" FROM policies ORDER BY polname;
SELECT relation, column_name, kind, roles, row_security, forced, other_policies, problem FROM architect.tenant_tables;
SELECT step, statement FROM architect.tenant_enable_plan('orders');

-- Asked twice, the call says so and touches nothing, whatever the way of asking.
CREATE TABLE before AS SELECT * FROM policies;
SELECT architect.tenant_enable('orders');
SELECT architect.tenant_enable('tenant_enable.orders', 'tenant_id', '{public,public}');
SELECT architect.tenant_enable('orders', NULL, NULL);
SET search_path = architect, tenant_enable;
SELECT tenant_enable('orders', roles => '{}');
SET search_path = tenant_enable;
SET quote_all_identifiers = on;
SELECT architect.tenant_enable('orders');
RESET quote_all_identifiers;
SELECT count(*) AS touched FROM (TABLE before EXCEPT TABLE policies) AS gone;
BEGIN;
SELECT architect.tenant_enable('orders');
SELECT count(*) AS exclusive FROM pg_locks
WHERE relation = 'orders'::regclass AND pid = pg_backend_pid() AND mode = 'AccessExclusiveLock';
COMMIT;

-- Everybody sees and writes the rows of the tenant, the owner like others.
SET SESSION AUTHORIZATION regress_tenant_app;
SELECT * FROM orders;
BEGIN;
SELECT architect.tenant_set(1);
SELECT * FROM orders;
INSERT INTO orders VALUES (4, 1, 'four');
UPDATE orders SET note = 'seen';
DELETE FROM orders WHERE id = 2;
SELECT * FROM orders ORDER BY id;
SAVEPOINT before_error;
-- fails: another tenant's row
INSERT INTO orders VALUES (5, 2, 'five');
ROLLBACK TO before_error;
-- fails: it would move to another tenant
UPDATE orders SET tenant_id = 2;
ROLLBACK TO before_error;
-- fails: it would be nobody's
UPDATE orders SET tenant_id = NULL;
ROLLBACK;
-- fails: no tenant
INSERT INTO orders VALUES (5, 2, 'five');
SET SESSION AUTHORIZATION regress_tenant_owner;
SELECT count(*) FROM orders;
BEGIN;
SELECT architect.tenant_set(2);
SELECT * FROM orders;
COMMIT;
-- A permissive policy that comes later does not open the table.
CREATE POLICY leak ON orders USING (true);
SET SESSION AUTHORIZATION regress_tenant_app;
SELECT count(*) FROM orders;
SET SESSION AUTHORIZATION regress_tenant_owner;
SELECT other_policies, problem FROM architect.tenant_tables;
DROP POLICY leak ON orders;

-- The roles and the column can be changed; what is left of the former is nothing.
SELECT architect.tenant_enable('orders', roles => '{regress_tenant_report,regress_tenant_app}');
SELECT polname, roles FROM policies ORDER BY polname;
SELECT roles, problem FROM architect.tenant_tables;
SELECT architect.tenant_enable('orders', roles => '{regress_tenant_app,regress_tenant_report,regress_tenant_app}');
-- Nobody else has a policy, and so no rows.
BEGIN;
SELECT architect.tenant_set(2);
SELECT count(*) FROM orders;
COMMIT;
SELECT architect.tenant_enable('orders', 'id');
SELECT polname, "using" FROM policies ORDER BY polname;
SELECT column_name, roles FROM architect.tenant_tables;
SELECT architect.tenant_enable('orders', 'tenant_id');

-- What somebody took away is put back.
DROP POLICY architect_tenant_floor ON orders;
SELECT problem FROM architect.tenant_tables;
SELECT step, statement FROM architect.tenant_enable_plan('orders');
SELECT architect.tenant_enable('orders');
ALTER POLICY architect_tenant ON orders USING (true);
SELECT problem FROM architect.tenant_tables;
SELECT step, statement FROM architect.tenant_enable_plan('orders');
SELECT architect.tenant_enable('orders');
ALTER POLICY architect_tenant ON orders TO regress_tenant_app;
SELECT problem FROM architect.tenant_tables;
SELECT architect.tenant_enable('orders');
SELECT problem FROM architect.tenant_tables;

-- Disabled, the table is as before; a second time it is a notice.
SELECT architect.tenant_disable('orders');
SELECT count(*) AS policies FROM policies;
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass;
SELECT count(*) AS registered FROM architect.tenant_registry;
SELECT count(*) FROM orders;
SELECT architect.tenant_disable('orders');

-- What was there before stays: row security, whether it is forced, policies of others.
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders FOR SELECT USING (id < 3);
SELECT step, statement FROM architect.tenant_enable_plan('orders');
SELECT architect.tenant_enable('orders');
SELECT other_policies, problem FROM architect.tenant_tables;
BEGIN;
SELECT architect.tenant_set(2);
SELECT * FROM orders;
COMMIT;
SELECT architect.tenant_disable('orders');
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass;
SELECT polname FROM policies;
DROP POLICY own ON orders;
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;

-- To enable that is rolled back has not been, and so has to disable.
BEGIN;
SELECT architect.tenant_enable('orders');
ROLLBACK;
SELECT count(*) AS registered, (SELECT count(*) FROM policies) AS policies FROM architect.tenant_registry;
SELECT architect.tenant_enable('orders');
BEGIN;
SELECT architect.tenant_disable('orders');
ROLLBACK;
SELECT relation, problem FROM architect.tenant_tables;

-- A member of the owning role may do what the owner may.
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_tenant_member;
SELECT architect.tenant_disable('orders');
SELECT architect.tenant_enable('orders');
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA tenant_enable CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_tenant_owner, regress_tenant_app, regress_tenant_report, regress_tenant_member;
