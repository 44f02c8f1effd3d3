-- The options of audit_enable, asking twice, changing one's mind, and what
-- architect.audit_status says of it.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_enable_owner;
CREATE ROLE regress_enable_member IN ROLE regress_enable_owner;
CREATE SCHEMA audit_enable AUTHORIZATION regress_enable_owner;
SET SESSION AUTHORIZATION regress_enable_owner;
SET search_path = audit_enable;

CREATE TABLE orders (id integer PRIMARY KEY, state text, note text, price numeric, updated_at timestamptz);
-- Identity and definition of our triggers, to see whether a call touches them.
CREATE VIEW triggers AS
    SELECT oid, tgrelid::regclass AS relation, tgname, tgenabled,
           CASE tgtype & 127
               WHEN 29 THEN 'AFTER INSERT OR DELETE OR UPDATE ROW'
               WHEN 21 THEN 'AFTER INSERT OR UPDATE ROW'
               WHEN 9 THEN 'AFTER DELETE ROW'
               WHEN 34 THEN 'BEFORE TRUNCATE'
               ELSE tgtype::text
           END AS fires
    FROM pg_trigger
    WHERE tgname LIKE 'architect%';

-- Without options: two triggers, of which one is for TRUNCATE.
SELECT architect.audit_enable('orders');
SELECT relation, tgname, tgenabled, fires FROM triggers ORDER BY tgname;
SELECT relation, capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;

-- Asked twice, the call says so and touches nothing, whatever way the same thing is said.
CREATE TABLE before AS SELECT * FROM triggers;
SELECT architect.audit_enable('orders');
SELECT architect.audit_enable('audit_enable.orders', 'changes', '{}', '{}', NULL, NULL, 'event', false);
SELECT architect.audit_enable('orders', capture => NULL, truncate => NULL, replica => NULL);
SET search_path = architect, audit_enable;
SELECT architect.audit_enable('orders');
SET search_path = audit_enable;
SET quote_all_identifiers = on;
SELECT architect.audit_enable('orders');
RESET quote_all_identifiers;
SELECT count(*) AS touched FROM (TABLE before EXCEPT TABLE triggers) AS gone;
-- It does not block readers either.
BEGIN;
SELECT architect.audit_enable('orders');
SELECT count(*) AS exclusive FROM pg_locks
WHERE relation = 'orders'::regclass AND pid = pg_backend_pid() AND mode = 'AccessExclusiveLock';
COMMIT;

-- All options.
SELECT architect.audit_enable('orders', capture => 'full', exclude => '{updated_at,updated_at}', mask => '{note,price}',
                              condition => 'state <> ''draft''', truncate => 'rows', replica => true);
SELECT relation, tgname, tgenabled, fires FROM triggers ORDER BY tgname;
SELECT relation, capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
TRUNCATE before;
INSERT INTO before TABLE triggers;
SELECT architect.audit_enable('orders', capture => 'full', exclude => '{updated_at}', mask => '{note,price}',
                              condition => '(state<>''draft'')', truncate => 'rows', replica => true);
SELECT count(*) AS touched FROM (TABLE before EXCEPT TABLE triggers) AS gone;

-- One after the other, each option alone makes a difference, and nothing is kept of the last.
SELECT architect.audit_enable('orders', mask => '{note}');
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', exclude => '{note}');
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', capture => 'keys');
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', condition => 'id > 0');
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', condition => 'id > 1');
SELECT condition FROM architect.audit_status;
SELECT architect.audit_enable('orders', truncate => 'refuse');
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', replica => true);
SELECT capture, exclude, mask, key, condition, truncate, replica, problem FROM architect.audit_status;
SELECT relation, tgname, tgenabled, fires FROM triggers ORDER BY tgname;

-- A change of the options counts from the next statement on.
BEGIN;
SELECT architect.audit_enable('orders', mask => '{note}');
INSERT INTO orders VALUES (1, 'open', 'masked');
SELECT architect.audit_enable('orders', exclude => '{note,price,updated_at}');
INSERT INTO orders VALUES (2, 'open', 'excluded');
SELECT operation, record_id, new_values FROM architect.audit_log ORDER BY id;
ROLLBACK;
INSERT INTO orders VALUES (3, 'open', 'in clear', 1.10);
SELECT operation, record_id, new_values FROM architect.audit_log ORDER BY id;

-- Disabled, the table is as before; the log stays; a second time it is a notice.
SELECT architect.audit_disable('orders');
INSERT INTO orders VALUES (4);
TRUNCATE orders;
SELECT count(*) AS triggers FROM triggers;
SELECT count(*) AS tables FROM architect.audit_status;
SELECT architect.audit_disable('orders');
SELECT operation, record_id FROM architect.audit_log ORDER BY id;
-- Enabled again, it goes on under the number it had.
SELECT architect.audit_enable('orders');
INSERT INTO orders VALUES (5);
SELECT count(DISTINCT table_id) AS numbers, count(*) AS rows FROM architect.audit_log;
-- Enabling that is rolled back has not been.
BEGIN;
CREATE TABLE other (id integer PRIMARY KEY);
SELECT architect.audit_enable('other');
INSERT INTO other VALUES (1);
ROLLBACK;
SELECT count(*) AS rows FROM architect.audit_log WHERE table_name = 'other';

-- The status tells what a trigger does no more.
ALTER TABLE orders DISABLE TRIGGER architect_audit;
SELECT problem FROM architect.audit_status;
-- To enable it again mends that.
SELECT architect.audit_enable('orders');
SELECT problem FROM architect.audit_status;
ALTER TABLE orders ENABLE REPLICA TRIGGER architect_audit;
SELECT problem FROM architect.audit_status;
SELECT architect.audit_enable('orders');
DROP TRIGGER architect_audit_truncate ON orders;
SELECT problem IS NOT NULL AS problem FROM architect.audit_status;
SELECT architect.audit_enable('orders');
SELECT problem IS NOT NULL AS problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', condition => 'id > 0');
DROP TRIGGER architect_audit_delete ON orders;
SELECT problem IS NOT NULL AS problem FROM architect.audit_status;
SELECT architect.audit_enable('orders', condition => 'id > 0');
ALTER TABLE orders DISABLE TRIGGER architect_audit_delete;
SELECT problem IS NOT NULL AS problem FROM architect.audit_status;

-- Changes that are replayed, not made here, are captured where it was asked for.
SELECT architect.audit_enable('orders', truncate => 'rows');
CREATE TABLE replayed (id integer PRIMARY KEY);
SELECT architect.audit_enable('replayed', condition => 'id > 0', replica => true);
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
INSERT INTO orders VALUES (6);
INSERT INTO replayed VALUES (6), (7);
DELETE FROM replayed WHERE id = 6;
TRUNCATE orders, replayed;
RESET session_replication_role;
SELECT table_name, operation, record_id FROM architect.audit_log WHERE record_id IN ('6', '7') OR operation = 'TRUNCATE' ORDER BY id;
SET SESSION AUTHORIZATION regress_enable_owner;

-- A trigger of the owner's is his, whatever its name is.
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE named (id integer PRIMARY KEY);
CREATE TRIGGER architect_audit AFTER INSERT ON named FOR EACH ROW EXECUTE FUNCTION own();
SET client_min_messages = warning;
SELECT architect.audit_disable('named');
RESET client_min_messages;
SELECT tgname, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 'named'::regclass;

-- A member of the owning role may do what the owner may.
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_enable_member;
SELECT architect.audit_enable('orders', capture => 'keys');
SELECT architect.audit_disable('orders');
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA audit_enable CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_enable_owner, regress_enable_member;
