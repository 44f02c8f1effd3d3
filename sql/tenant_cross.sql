-- Access across tenants: for those who were granted it, read only unless asked, and never unseen.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_cross_app;
CREATE ROLE regress_cross_billing;
CREATE ROLE regress_cross_heir;
CREATE ROLE regress_cross_owner;
CREATE SCHEMA tenant_cross AUTHORIZATION regress_cross_owner;
SET ROLE regress_cross_owner;
SET search_path = tenant_cross;
GRANT USAGE ON SCHEMA tenant_cross TO PUBLIC;
CREATE TABLE item (tenant_id integer NOT NULL, id integer, PRIMARY KEY (tenant_id, id));
INSERT INTO item SELECT tenant, id FROM generate_series(1, 3) AS tenant, generate_series(1, 10) AS id;
CREATE TABLE copied (tenant_id integer, id integer);
GRANT ALL ON item, copied TO regress_cross_app, regress_cross_billing, regress_cross_heir;
ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY architect_tenant ON item
    USING (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing())
    WITH CHECK (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing());
CREATE POLICY architect_tenant_floor ON item AS RESTRICTIVE
    USING (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing())
    WITH CHECK (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing());
RESET ROLE;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO regress_cross_billing;
PREPARE counted AS SELECT count(*), count(DISTINCT tenant_id) AS tenants FROM item;

-- An application cannot, and for it the policies are the bare comparison, written down once.
SET ROLE regress_cross_app;
-- fails: not granted
SELECT architect.tenant_cross('curiosity');
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM item WHERE id = 1;
EXPLAIN (COSTS OFF) UPDATE item SET id = id WHERE id = 1;
RESET enable_seqscan;

-- Who can sees nothing more until he says so, and then all of it until the transaction ends.
SET ROLE regress_cross_billing;
EXECUTE counted;
EXPLAIN (COSTS OFF) SELECT * FROM item;
BEGIN;
EXECUTE counted;
SELECT architect.tenant_cross('invoices of May');
SELECT architect.tenant_crossing();
EXECUTE counted;
EXPLAIN (COSTS OFF) SELECT * FROM item;
SELECT architect.tenant_current();
SAVEPOINT a;
-- fails: read only
UPDATE item SET id = id;
ROLLBACK TO a;
-- fails: read only for good
SET TRANSACTION READ WRITE;
ROLLBACK TO a;
-- fails: it could not be logged
SELECT architect.tenant_cross('once more', read_only => false);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT architect.tenant_clear();
EXECUTE counted;
-- What is taken back with a savepoint comes back for plans as well.
ROLLBACK TO a;
EXECUTE counted;
COMMIT;
EXECUTE counted;
SELECT architect.tenant_crossing();
EXPLAIN (COSTS OFF) SELECT * FROM item;

-- With a tenant, and without: the crossing is wider.
BEGIN;
SELECT architect.tenant_set(2);
EXECUTE counted;
SELECT architect.tenant_cross('move items', false);
EXECUTE counted;
UPDATE item SET tenant_id = 3, id = 11 WHERE tenant_id = 2 AND id = 1;
INSERT INTO item VALUES (1, 12);
EXECUTE counted;
SELECT architect.tenant_current();
ROLLBACK;
BEGIN;
SET LOCAL architect.tenant_unset = error;
-- Nobody is asked for a tenant who needs none.
SELECT architect.tenant_cross('invoices of May');
EXECUTE counted;
COMMIT;

-- It goes with its savepoint, when that is rolled back; what was read only, when it is released, too.
BEGIN;
SAVEPOINT a;
SELECT architect.tenant_cross('tried');
EXECUTE counted;
ROLLBACK TO a;
EXECUTE counted;
SELECT architect.tenant_cross('tried again');
RELEASE a;
SHOW transaction_read_only;
EXECUTE counted;
SELECT architect.tenant_crossing();
SAVEPOINT b;
SELECT architect.tenant_cross('tried to write', false);
RELEASE b;
EXECUTE counted;
ROLLBACK;
DO $$
BEGIN
    BEGIN
        PERFORM architect.tenant_cross('in a block');
        RAISE NOTICE 'in the block: %', (SELECT count(*) FROM item);
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    RAISE NOTICE 'after the block: %', (SELECT count(*) FROM item);
    INSERT INTO tenant_cross.copied TABLE tenant_cross.item;
END
$$;
TABLE copied;
-- Where the server lets somebody lift READ ONLY, as before 16, the crossing ends.
SELECT current_setting('server_version_num')::integer < 160000 AS can_be_lifted \gset
BEGIN;
SELECT architect.tenant_cross('to be written');
\if :can_be_lifted
RESET transaction_read_only;
INSERT INTO copied TABLE item;
\endif
COMMIT;
TABLE copied;

-- It belongs to the role: what others do in the same transaction is as narrow as ever.
RESET ROLE;
GRANT regress_cross_app TO regress_cross_billing;
SET SESSION AUTHORIZATION regress_cross_billing;
CREATE FUNCTION pg_temp.counted() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM tenant_cross.item); END $$;
BEGIN;
SELECT architect.tenant_cross('a role inside');
SELECT pg_temp.counted();
EXECUTE counted;
SET LOCAL ROLE regress_cross_app;
SELECT pg_temp.counted();
EXECUTE counted;
RESET ROLE;
SELECT pg_temp.counted();
EXECUTE counted;
COMMIT;
SELECT pg_temp.counted();
DROP FUNCTION pg_temp.counted();
RESET SESSION AUTHORIZATION;

-- A right that comes or goes counts at once.
SET search_path = tenant_cross;
SET ROLE regress_cross_app;
EXECUTE counted;
RESET ROLE;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO regress_cross_app;
SET ROLE regress_cross_app;
BEGIN;
SELECT architect.tenant_cross('newly granted');
EXECUTE counted;
ROLLBACK;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) FROM regress_cross_app;
SET ROLE regress_cross_app;
-- fails: taken away
SELECT architect.tenant_cross('newly granted');
SET ROLE regress_cross_billing;
BEGIN;
SELECT architect.tenant_cross('for a role that inherits', false);
SET LOCAL ROLE regress_cross_heir;
EXECUTE counted;
RESET ROLE;
GRANT regress_cross_billing TO regress_cross_heir;
SET LOCAL ROLE regress_cross_heir;
EXPLAIN (COSTS OFF) SELECT * FROM item;
RESET ROLE;
REVOKE regress_cross_billing FROM regress_cross_heir;
SET LOCAL ROLE regress_cross_heir;
EXPLAIN (COSTS OFF) SELECT * FROM item;
ROLLBACK;
RESET ROLE;

-- Bad calls.
SET ROLE regress_cross_billing;
-- fails: no reason
SELECT architect.tenant_cross('');
\echo :LAST_ERROR_SQLSTATE
-- fails: no reason
SELECT architect.tenant_cross(NULL);
-- fails: it could not be logged
BEGIN READ ONLY;
SELECT architect.tenant_cross('from here');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- NULL for read_only is no permission to write.
BEGIN;
SELECT architect.tenant_cross('NULL', NULL);
SHOW transaction_read_only;
COMMIT;

-- Who crossed is kept, with what was committed; to be read by those who may.
-- fails: not for everybody
TABLE architect.tenant_crossings;
-- fails: nor written
INSERT INTO architect.tenant_crossings (session_role, role_name, reason, read_only) VALUES ('a', 'b', 'c', true);
-- fails: nor forgotten
DELETE FROM architect.tenant_crossings;
-- fails: private
SELECT architect._tenant_note_crossing('a', 'b', true);
RESET ROLE;
SELECT session_role = session_user AS by_session_user, role_name, reason, read_only,
       transaction_id < pg_current_xact_id() AS ended, crossed_at < clock_timestamp() AS passed
FROM architect.tenant_crossings ORDER BY id;

-- The planner's part is for nobody to call.
-- fails: internal
SELECT architect._tenant_plan_crossing(NULL);

SET client_min_messages = warning;
DROP SCHEMA tenant_cross CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_cross_app, regress_cross_billing, regress_cross_heir, regress_cross_owner;
