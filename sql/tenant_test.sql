-- tenant_test finds what is open, says so of nothing else, and leaves nothing behind.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_trial_owner;
CREATE ROLE regress_trial_app;
CREATE ROLE regress_trial_other;
GRANT regress_trial_app TO regress_trial_owner;
CREATE SCHEMA tenant_test AUTHORIZATION regress_trial_owner;
GRANT USAGE ON SCHEMA tenant_test TO regress_trial_app;
SET SESSION AUTHORIZATION regress_trial_owner;

-- A protected table: no command reaches another tenant's rows, or any without a tenant.
CREATE TABLE tenant_test.closed (tenant_id integer NOT NULL, id serial, note text, PRIMARY KEY (tenant_id, id));
INSERT INTO tenant_test.closed (tenant_id, note) VALUES (1, 'one'), (2, 'two');
CREATE POLICY own ON tenant_test.closed
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
ALTER TABLE tenant_test.closed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_test.closed TO regress_trial_app;
SELECT command, tenant, expected, seen, ok, detail FROM architect.tenant_test('tenant_test.closed', 'regress_trial_app');
-- The table is as it was, and so is its sequence.
SELECT last_value FROM tenant_test.closed_id_seq;
SELECT current_user, current_setting('app.tenant_id', true) AS tenant, current_setting('session_replication_role') AS triggers;
RESET SESSION AUTHORIZATION;
SELECT ctid, * FROM tenant_test.closed ORDER BY tenant_id;
SET SESSION AUTHORIZATION regress_trial_owner;

-- From here on, what is open: a row a hole.
CREATE FUNCTION tenant_test.holes(target regclass, role name, VARIADIC named text[] DEFAULT '{}')
RETURNS TABLE (via regclass, commands text, tenant text, seen text) LANGUAGE sql AS $$
    -- MERGE through a view is for servers from 17 on.
    SELECT trial.via, string_agg(trial.command, ', ' ORDER BY trial.ordinality), trial.tenant, trial.seen
    FROM architect.tenant_test(target, role, named[1], named[2]) WITH ORDINALITY AS trial
    WHERE NOT trial.ok AND NOT (command LIKE 'MERGE%' AND trial.via <> trial.target)
    GROUP BY trial.via, trial.tenant, trial.seen
    ORDER BY min(trial.ordinality)
$$;

-- The owner of a table without FORCE.
CREATE TABLE tenant_test.unforced (LIKE tenant_test.closed INCLUDING ALL);
INSERT INTO tenant_test.unforced VALUES (1, 1), (2, 2);
CREATE POLICY own ON tenant_test.unforced
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
ALTER TABLE tenant_test.unforced ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_test.unforced TO regress_trial_app;
SELECT * FROM tenant_test.holes('tenant_test.unforced', 'regress_trial_owner');
SELECT * FROM tenant_test.holes('tenant_test.unforced', 'regress_trial_app');
-- Row security that is off, although there are policies.
ALTER TABLE tenant_test.unforced DISABLE ROW LEVEL SECURITY;
SELECT * FROM tenant_test.holes('tenant_test.unforced', 'regress_trial_app');
DROP TABLE tenant_test.unforced;

-- A second permissive policy that is always true, for one command.
CREATE POLICY open ON tenant_test.closed FOR SELECT USING (true);
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
DROP POLICY open ON tenant_test.closed;
-- A WITH CHECK that lets rows be given away, and put among another's.
ALTER POLICY own ON tenant_test.closed WITH CHECK (true);
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
-- A USING that lets another's rows be taken over, although none may be given away.
DROP POLICY own ON tenant_test.closed;
CREATE POLICY own ON tenant_test.closed
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
CREATE POLICY take ON tenant_test.closed FOR UPDATE USING (true)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
CREATE POLICY look ON tenant_test.closed FOR SELECT USING (true);
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
DROP POLICY take ON tenant_test.closed;
DROP POLICY look ON tenant_test.closed;
-- A policy that is open to whoever sets no tenant.
ALTER POLICY own ON tenant_test.closed
    USING (coalesce(current_setting('app.tenant_id', true), '') IN ('', tenant_id::text));
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
-- A policy that fails where no tenant is set is as good as one that hides.
ALTER POLICY own ON tenant_test.closed USING (tenant_id = current_setting('app.tenant_id')::integer);
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
SELECT command, detail FROM architect.tenant_test('tenant_test.closed', 'regress_trial_app') WHERE tenant = 'none' AND command IN ('SELECT', 'DELETE');
ALTER POLICY own ON tenant_test.closed
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
-- What is hidden from those who look can still be removed blindly.
DROP POLICY own ON tenant_test.closed;
CREATE POLICY look ON tenant_test.closed FOR SELECT
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);
CREATE POLICY remove ON tenant_test.closed FOR DELETE USING (true);
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
DROP POLICY look ON tenant_test.closed;
DROP POLICY remove ON tenant_test.closed;
CREATE POLICY own ON tenant_test.closed
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::integer);

-- TRUNCATE is subject to no policy.
GRANT TRUNCATE ON tenant_test.closed TO regress_trial_app;
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
REVOKE TRUNCATE ON tenant_test.closed FROM regress_trial_app;

-- A view shows what its owner sees, unless it has security_invoker.
RESET SESSION AUTHORIZATION;
CREATE VIEW tenant_test.all_rows AS SELECT * FROM tenant_test.closed;
CREATE VIEW tenant_test.number AS SELECT count(*) FROM tenant_test.all_rows;
CREATE VIEW tenant_test.proper WITH (security_invoker) AS SELECT * FROM tenant_test.closed;
CREATE MATERIALIZED VIEW tenant_test.stored AS SELECT * FROM tenant_test.closed;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_test.all_rows, tenant_test.proper, tenant_test.number, tenant_test.stored
    TO regress_trial_app;
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
DROP MATERIALIZED VIEW tenant_test.stored;
-- One that shows some rows only is tried with one of these; one that shows none is not tried.
CREATE VIEW tenant_test.some AS SELECT * FROM tenant_test.closed WHERE id = 2;
CREATE VIEW tenant_test.no_more WITH (security_invoker) AS SELECT * FROM tenant_test.closed WHERE note = 'three';
CREATE VIEW tenant_test.how_many WITH (security_invoker) AS SELECT count(*) FROM tenant_test.closed WHERE note = 'three';
GRANT SELECT, UPDATE ON tenant_test.some, tenant_test.no_more, tenant_test.how_many TO regress_trial_app;
SELECT via, command, tenant, seen, detail FROM architect.tenant_test('tenant_test.closed', 'regress_trial_app')
WHERE via <> target AND command IN ('SELECT', 'UPDATE') AND NOT ok AND via::text !~ '(all_rows|number)';
DROP VIEW tenant_test.some, tenant_test.no_more, tenant_test.how_many;
DROP VIEW tenant_test.proper, tenant_test.number, tenant_test.all_rows;

-- A role that row security does not apply to.
ALTER ROLE regress_trial_app BYPASSRLS;
SELECT * FROM tenant_test.holes('tenant_test.closed', 'regress_trial_app');
ALTER ROLE regress_trial_app NOBYPASSRLS;

-- Who may not do something at all is expected to be denied.
SET SESSION AUTHORIZATION regress_trial_owner;
REVOKE DELETE ON tenant_test.closed FROM regress_trial_app;
SELECT command, tenant, expected, seen, ok FROM architect.tenant_test('tenant_test.closed', 'regress_trial_app')
WHERE command LIKE 'DELETE%';
-- A right to UPDATE without one to read is tried as well; a right to some columns is enough.
REVOKE SELECT, UPDATE, INSERT ON tenant_test.closed FROM regress_trial_app;
GRANT UPDATE (note), INSERT (id, note) ON tenant_test.closed TO regress_trial_app;
SELECT command, tenant, expected, seen, ok, detail FROM architect.tenant_test('tenant_test.closed', 'regress_trial_app')
WHERE tenant <> 'none' AND command IN ('UPDATE', 'INSERT', 'SELECT', 'UPDATE giving away');

-- What tenant_enable makes is closed; the owner is a member of the role that it is made for.
CREATE TABLE tenant_test.enabled (tenant_id bigint NOT NULL, id integer, note text, PRIMARY KEY (tenant_id, id));
INSERT INTO tenant_test.enabled VALUES (1, 1, 'one'), (2, 2, 'two');
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_test.enabled TO regress_trial_app;
SELECT architect.tenant_enable('tenant_test.enabled', roles => '{regress_trial_app}');
SELECT count(*) > 0 AS tried, bool_and(ok) FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_app');
SELECT expected, seen, count(*) FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_owner')
WHERE command <> 'TRUNCATE' GROUP BY 1, 2 ORDER BY 1 DESC;
RESET SESSION AUTHORIZATION;
SET architect.tenant_trusted = on;
SELECT count(*) > 0 AS tried, bool_and(ok) FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_app');
SET architect.tenant_trusted = off;
SET architect.tenant_unset = error;
SELECT count(*) > 0 AS tried, bool_and(ok) FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_app');
RESET architect.tenant_unset;
RESET architect.tenant_trusted;
-- The tenant of the caller's transaction is the same before and after.
BEGIN;
SELECT architect.tenant_set(7);
SELECT bool_and(ok) FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_app');
SELECT architect.tenant_current();
ROLLBACK;
-- A trigger cannot get out of the role, although the session is a superuser's.
CREATE FUNCTION tenant_test.escape() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN new; END $$;
CREATE TRIGGER escape BEFORE INSERT ON tenant_test.enabled FOR EACH ROW EXECUTE FUNCTION tenant_test.escape();
SELECT tenant, seen, detail FROM architect.tenant_test('tenant_test.enabled', 'regress_trial_app') WHERE command = 'INSERT';

SET client_min_messages = warning;
DROP SCHEMA tenant_test CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_trial_owner, regress_trial_app, regress_trial_other;
