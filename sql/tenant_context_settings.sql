-- Where the tenant comes from is for a superuser to say, and what is hidden cannot be forged.
-- What differs with the way that the library is loaded is tested in t/017_tenant_context.pl.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_settings_app;
CREATE SCHEMA tenant_settings AUTHORIZATION regress_settings_app;

-- A value that was SET before the library came is taken over.
\c
SET app.tenant_id = '7';
SET ROLE regress_settings_app;
SELECT architect.tenant_bigint();
RESET app.tenant_id;
SELECT architect.tenant_bigint();
\c
BEGIN;
SET LOCAL app.tenant_id = '7';
SAVEPOINT a;
SET LOCAL app.tenant_id = '8';
SELECT architect.tenant_bigint();
ROLLBACK TO a;
SELECT architect.tenant_bigint();
COMMIT;
SELECT architect.tenant_bigint();

\c
SELECT architect.tenant_current();
SET SESSION AUTHORIZATION regress_settings_app;
-- fails: unknown
SET architect.tenant_stat = 'w0:';

-- Only a superuser names another setting or turns trusted mode on or off.
-- fails: not for everybody
SET architect.tenant_setting = 'my.own';
-- fails: not for everybody
SET LOCAL architect.tenant_trusted = on;
-- fails: not for everybody
SELECT set_config('architect.tenant_setting', 'my.own', true);
-- fails: not for everybody
UPDATE pg_settings SET setting = 'my.own' WHERE name = 'architect.tenant_setting';
-- fails: not for everybody
CREATE FUNCTION tenant_settings.renamed() RETURNS text LANGUAGE sql SET architect.tenant_setting = 'my.own'
AS $$ SELECT architect.tenant_text() $$;
-- fails: not for everybody
ALTER ROLE regress_settings_app SET architect.tenant_setting = 'my.own';
RESET SESSION AUTHORIZATION;

-- Another setting, from one moment to the next, and back with its transaction.
SET my.own = 'own';
SET app.tenant_id = 'app';
SELECT architect.tenant_text();
BEGIN;
SET LOCAL architect.tenant_setting = 'my.own';
SELECT architect.tenant_text();
SELECT architect.tenant_set('set'), current_setting('my.own'), current_setting('app.tenant_id');
SET LOCAL architect.tenant_setting = 'my.other.one';
SELECT architect.tenant_text();
SET LOCAL my.other.one = 'other';
SELECT architect.tenant_text();
COMMIT;
SELECT architect.tenant_text(), current_setting('my.own'), current_setting('my.other.one');
SET architect.tenant_setting = 'MY.Own';
SELECT architect.tenant_text();
RESET architect.tenant_setting;
SELECT architect.tenant_text();
SET architect.tenant_setting = 'my.own';
RESET ALL;
SHOW architect.tenant_setting;
SELECT architect.tenant_text();
SET my.own = 'own';
CREATE FUNCTION tenant_settings.renamed() RETURNS text LANGUAGE sql SET architect.tenant_setting = 'my.own'
AS $$ SELECT architect.tenant_text() $$;
SELECT tenant_settings.renamed(), architect.tenant_text();

-- fails: no dot
SET architect.tenant_setting = 'tenant';
\echo :LAST_ERROR_SQLSTATE
-- fails: empty
SET architect.tenant_setting = '';
-- fails: no name
SET architect.tenant_setting = 'app.';
-- fails: no prefix
SET architect.tenant_setting = '.tenant';
-- fails: begins with a digit
SET architect.tenant_setting = 'app.1';
-- fails: no name of a setting
SET architect.tenant_setting = 'app.tenant-id';
-- fails: one of ours
SET architect.tenant_setting = 'architect.tenant_state';
-- fails: of another library
LOAD 'auto_explain';
SET architect.tenant_setting = 'auto_explain.log_format';
-- fails: of the server, which has no dot in its names
SET architect.tenant_setting = 'search_path';

-- RESET ALL and DISCARD ALL end a tenant of the session, and a transaction's as any RESET does.
SET app.tenant_id = '7';
RESET ALL;
SELECT architect.tenant_text();
SET app.tenant_id = '7';
DISCARD ALL;
SELECT architect.tenant_text();
BEGIN;
SELECT architect.tenant_set(7);
RESET ALL;
SELECT architect.tenant_text();
COMMIT;

-- Whoever may set it for his role or database has a tenant from the start.
ALTER ROLE CURRENT_USER IN DATABASE :"DBNAME" SET app.tenant_id = '9';
\c
SELECT architect.tenant_bigint();
SELECT architect.tenant_set(10), architect.tenant_bigint();
SELECT architect.tenant_bigint();
ALTER ROLE CURRENT_USER IN DATABASE :"DBNAME" RESET app.tenant_id;

-- In trusted mode all of this counts for nothing.
\c
SET architect.tenant_trusted = on;
SET SESSION AUTHORIZATION regress_settings_app;
SET app.tenant_id = '7';
SELECT architect.tenant_current(), architect.tenant_bigint();
-- fails: there is no token
SELECT architect.tenant_set(7);
\echo :LAST_ERROR_SQLSTATE
SELECT architect.tenant_clear();
SET architect.tenant_unset = error;
-- fails: there is no token
SELECT architect.tenant_bigint();
RESET architect.tenant_unset;
CREATE FUNCTION tenant_settings.local() RETURNS text LANGUAGE sql SET app.tenant_id = '7' AS $$ SELECT architect.tenant_text() $$;
SELECT tenant_settings.local();
-- fails: only a superuser leaves it
RESET architect.tenant_trusted;
-- fails: only a superuser leaves it
SET architect.tenant_trusted TO DEFAULT;
RESET ALL;
SET app.tenant_id = '7';
SELECT architect.tenant_text();
DISCARD ALL;
SHOW architect.tenant_trusted;

-- The hidden setting is for nobody, whoever he is.
-- fails: SET
SET architect.tenant_state = 'w1:7';
\echo :LAST_ERROR_SQLSTATE
-- fails: SET LOCAL
SET LOCAL architect.tenant_state = '-1:7';
-- fails: set_config
SELECT set_config('architect.tenant_state', '-1:7', true);
-- fails: in its own statement
SELECT count(*) FROM pg_class UNION SELECT set_config('architect.tenant_state', '-1:7', true)::integer;
UPDATE pg_settings SET setting = '-1:7' WHERE name = 'architect.tenant_state';
-- fails: ALTER SYSTEM
ALTER SYSTEM SET architect.tenant_state = '-1:7';
-- fails: ALTER DATABASE
ALTER DATABASE :"DBNAME" SET architect.tenant_state = '-1:7';
-- fails: ALTER ROLE
ALTER ROLE regress_settings_app SET architect.tenant_state = '-1:7';
-- fails: a function's clause
CREATE FUNCTION tenant_settings.forged() RETURNS text LANGUAGE sql SET architect.tenant_state = '-1:7'
AS $$ SELECT architect.tenant_text() $$;
-- A right to set it changes nothing.
GRANT SET ON PARAMETER architect.tenant_state TO regress_settings_app;
SET SESSION AUTHORIZATION regress_settings_app;
-- fails: still
SET architect.tenant_state = 'w1:7';
\set VERBOSITY sqlstate
-- fails: nor does he see it
SHOW architect.tenant_state;
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
REVOKE SET ON PARAMETER architect.tenant_state FROM regress_settings_app;
SHOW architect.tenant_state;
SELECT count(*) AS shown FROM pg_settings WHERE name = 'architect.tenant_state';
SELECT architect.tenant_current(), architect.tenant_crossing();
RESET architect.tenant_state;
SET architect.tenant_state = '';

\c
SET client_min_messages = warning;
DROP SCHEMA tenant_settings CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_settings_app;
