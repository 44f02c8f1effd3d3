-- What an attacker tries: to get rights by way of the tenant part, to act as a
-- tenant without a token, to have others run what is his, to stop the server.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_security_keeper;
CREATE ROLE regress_security_app;
CREATE ROLE regress_security_helper;
CREATE ROLE regress_security_evil;
CREATE SCHEMA tenant_security AUTHORIZATION regress_security_keeper;
GRANT USAGE ON SCHEMA tenant_security TO PUBLIC;
CREATE SCHEMA tenant_security_evil AUTHORIZATION regress_security_evil;
GRANT USAGE ON SCHEMA tenant_security_evil TO PUBLIC;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO regress_security_helper;
SET SESSION AUTHORIZATION regress_security_keeper;
CREATE TABLE tenant_security.account (tenant_id integer NOT NULL, id integer, secret text, PRIMARY KEY (tenant_id, id));
INSERT INTO tenant_security.account VALUES (1, 1, 'of one'), (2, 2, 'of two');
GRANT SELECT, INSERT, UPDATE ON tenant_security.account TO regress_security_app, regress_security_helper, regress_security_evil;
SELECT architect.tenant_enable('tenant_security.account');
RESET SESSION AUTHORIZATION;

-- An operator of the caller's does not run with the rights of the extension's owner.
SET SESSION AUTHORIZATION regress_security_evil;
CREATE TABLE tenant_security_evil.mine (tenant_id integer NOT NULL, id integer, PRIMARY KEY (tenant_id, id));
CREATE TABLE tenant_security_evil.child () INHERITS (tenant_security_evil.mine);
CREATE FUNCTION tenant_security_evil.same(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'the operator runs as %', current_user;
    RETURN true;
END $$;
CREATE OPERATOR tenant_security_evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = tenant_security_evil.same);
SET search_path = tenant_security_evil, pg_catalog;
SELECT count(*) > 0 AS planned FROM architect.tenant_enable_plan('tenant_security_evil.mine');
SELECT architect.tenant_enable('tenant_security_evil.mine');
SELECT architect.tenant_disable('tenant_security_evil.mine');
SELECT count(*) > 0 AS tried FROM architect.tenant_test('tenant_security_evil.mine', 'regress_security_evil');
RESET search_path;
DROP OPERATOR tenant_security_evil.= (oid, oid);

-- Nobody becomes a tenant by a trial of a table of his own, where that takes a token.
INSERT INTO tenant_security_evil.mine VALUES (1, 1), (2, 2);
CREATE FUNCTION tenant_security_evil.spy(integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'seen: %', (SELECT string_agg(secret, ', ') FROM tenant_security.account);
    RETURN $1;
END $$;
CREATE VIEW tenant_security_evil.window AS SELECT tenant_security_evil.spy(tenant_id) AS tenant_id FROM tenant_security_evil.mine;
RESET SESSION AUTHORIZATION;
SET architect.tenant_trusted = on;
SET SESSION AUTHORIZATION regress_security_evil;
-- fails: that is for those who may see all tenants' rows
SELECT count(*) FROM architect.tenant_test('tenant_security_evil.mine', 'regress_security_evil', '1', '2');
-- fails: the same for a schema
SELECT count(*) FROM architect.tenant_test_schema('tenant_security_evil', 'regress_security_evil', '1', '2');
RESET SESSION AUTHORIZATION;
RESET architect.tenant_trusted;
DROP VIEW tenant_security_evil.window;

-- A view that somebody else has made over a table is not run in its owner's trial.
SET SESSION AUTHORIZATION regress_security_evil;
CREATE FUNCTION tenant_security_evil.shout(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'the view runs as %', current_user;
    RETURN $1;
END $$;
CREATE VIEW tenant_security_evil.look AS
    SELECT tenant_id, id, tenant_security_evil.shout(secret) AS secret FROM tenant_security.account;
CREATE FUNCTION tenant_security_evil.take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'the trigger is given %', new;
    RETURN new;
END $$;
CREATE TRIGGER take INSTEAD OF INSERT ON tenant_security_evil.look
    FOR EACH ROW EXECUTE FUNCTION tenant_security_evil.take();
GRANT ALL ON tenant_security_evil.look TO PUBLIC;
-- Nor do views that read each other keep it busy for ever.
CREATE VIEW tenant_security_evil.snake AS SELECT id FROM tenant_security.account;
CREATE VIEW tenant_security_evil.tail AS SELECT id FROM tenant_security_evil.snake;
CREATE OR REPLACE VIEW tenant_security_evil.snake AS
    SELECT a.id FROM tenant_security.account AS a, tenant_security_evil.tail;
RESET SESSION AUTHORIZATION;
SET statement_timeout = '30s';
SELECT via, seen, bool_or(ok) AS ok, min(detail) AS detail
FROM architect.tenant_test('tenant_security.account', 'regress_security_app')
WHERE via <> target::regclass GROUP BY via, seen ORDER BY via::text;
RESET statement_timeout;

-- A crossing to read cannot come after a statement has begun to write.
SET SESSION AUTHORIZATION regress_security_helper;
-- fails: it would write rows of all tenants
UPDATE tenant_security.account SET secret = 'overwritten'
    FROM (SELECT architect.tenant_cross('just looking') OFFSET 0) AS crossed;
-- fails: nor by a query that writes in WITH
WITH changed AS (
    UPDATE tenant_security.account SET secret = 'overwritten'
    FROM (SELECT architect.tenant_cross('just looking') OFFSET 0) AS crossed RETURNING 1
)
SELECT count(*) FROM changed;
-- fails: nor in a function
DO $$
BEGIN
    UPDATE tenant_security.account SET secret = 'overwritten'
        FROM (SELECT architect.tenant_cross('just looking') OFFSET 0) AS crossed;
END $$;
BEGIN;
SELECT architect.tenant_cross('to look after all that');
SELECT id, secret FROM tenant_security.account ORDER BY id;
COMMIT;
RESET SESSION AUTHORIZATION;

-- A name that looks like a part of its foreign key is not run by whoever repairs the table.
SET SESSION AUTHORIZATION regress_security_evil;
CREATE TABLE tenant_security_evil.p (tenant_id integer, id integer UNIQUE, PRIMARY KEY (tenant_id, id));
CREATE TABLE tenant_security_evil.t (tenant_id integer NOT NULL,
    "); SELECT 1 / 0; -- ON DELETE SET NULL" integer REFERENCES tenant_security_evil.p (id));
RESET SESSION AUTHORIZATION;
SELECT inside FROM architect.tenant_enable_plan('tenant_security_evil.t', fix => true, online => false)
WHERE inside LIKE '%REFERENCES%';
SELECT architect.tenant_enable('tenant_security_evil.t', fix => true, online => false);

-- What a catalog has no expression for stops nobody's session.
SET SESSION AUTHORIZATION regress_security_app;
SELECT said.always_true
FROM pg_rewrite, architect.tenant_expression(ev_qual, 1::smallint) AS said
WHERE ev_class = 'pg_user'::regclass;
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA tenant_security_evil, tenant_security CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_security_keeper, regress_security_app, regress_security_helper, regress_security_evil;
