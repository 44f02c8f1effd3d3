-- A hostile search_path changes nothing: in front of pg_catalog stands a schema
-- with a trap for every function, operator, type and table of pg_catalog.

CREATE ROLE regress_path_owner;
CREATE ROLE regress_path_attacker;
CREATE SCHEMA audit_path AUTHORIZATION regress_path_owner;
CREATE SCHEMA evil AUTHORIZATION regress_path_attacker;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SET SESSION AUTHORIZATION regress_path_attacker;
DO $$
DECLARE
    trap record;
    traps integer := 0;
BEGIN
    FOR trap IN
        SELECT format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''trapped by %I''; END $f$',
                      proname, oidvectortypes(proargtypes), pg_get_function_result(oid), proname) AS statement
        FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND proallargtypes IS NULL AND provariadic = 0
          AND prorettype::regtype::text !~ '^(internal|cstring|trigger|event_trigger|any.*|.*handler|language_handler|void)$'
          AND pg_get_function_arguments(oid) !~ '(internal|cstring|any|_handler|VARIADIC|OUT )'
        UNION ALL
        SELECT format('CREATE OPERATOR evil.%s (%s RIGHTARG = %s, FUNCTION = evil.%I)', oprname,
                      CASE WHEN oprleft <> 0 THEN format('LEFTARG = %s,', oprleft::regtype) END, oprright::regtype, proname)
        FROM pg_operator
        JOIN pg_proc ON pg_proc.oid = oprcode
        WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprright <> 0
          AND (oprleft::regtype::text || ' ' || oprright::regtype::text) !~ '(any|cstring|internal)'
        UNION ALL
        SELECT format('CREATE TABLE evil.%I (trapped integer)', relname)
        FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
        UNION ALL
        SELECT format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (false)', typname, typname)
        FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace
          AND typname IN ('int4', 'int8', 'text', 'name', 'regclass', 'timestamptz', 'interval', 'xid8', 'jsonb', 'bool')
    LOOP
        BEGIN
            EXECUTE trap.statement;
            traps := traps + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    IF traps < 2000 THEN
        RAISE WARNING 'only % traps', traps;
    END IF;
END
$$;
CREATE TABLE evil.audit_log (trapped integer);
CREATE TABLE evil.audit_tables (trapped integer);
CREATE TYPE evil.hostile AS ENUM ('trapped');
RESET SESSION AUTHORIZATION;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;

-- The traps work.
SET search_path = evil, pg_catalog;
\set VERBOSITY terse
-- fails: trapped
SELECT lower('A');
-- fails: trapped
SELECT 1 + 1;
\set VERBOSITY default

-- A superuser installs the extension, a table's owner uses it for the first time, and
-- all functions and views are called; nothing of the traps runs with anybody's rights.
CREATE EXTENSION pg_architect;
SET SESSION AUTHORIZATION regress_path_owner;
CREATE TABLE audit_path.item (id pg_catalog.int4 PRIMARY KEY, a pg_catalog.text, at pg_catalog.timestamptz,
    c pg_catalog.regclass, n pg_catalog.numeric[]);
SELECT architect.audit_enable('audit_path.item', exclude => '{at}', mask => '{a}', condition => 'id IS NOT NULL', truncate => 'rows');
INSERT INTO audit_path.item VALUES (1, 'a', NULL, 'pg_catalog.pg_class', '{1.50}'), (2, NULL, NULL, 'evil.pg_class', NULL);
UPDATE audit_path.item SET a = 'b', n = '{2}';
TRUNCATE audit_path.item;
SELECT architect.audit_set_actor('alice', '{"a": 1}');
RESET SESSION AUTHORIZATION;
SET architect.audit_context = 'application_name';
BEGIN;
SELECT architect.audit_set_actor('alice', '{"a": 1}');
INSERT INTO audit_path.item VALUES (3, 'a');
COMMIT;
RESET architect.audit_context;
SELECT relation, capture, exclude, mask, key, condition, truncate, problem FROM architect.audit_status;
SELECT architect.audit_readable() IS NOT NULL AS readable;
SELECT architect.audit_maintain();
SELECT part, name FROM architect.help LIMIT 1;
SELECT step FROM architect.uninstall_plan() LIMIT 1;
SELECT architect.audit_enable('audit_path.item');
SELECT architect.audit_disable('audit_path.item');

-- Temporary tables and types, which are looked up before all else.
SET SESSION AUTHORIZATION regress_path_owner;
SET search_path = pg_temp, evil, pg_catalog;
CREATE TEMPORARY TABLE audit_log (trapped pg_catalog.int4);
CREATE TEMPORARY TABLE audit_tables (trapped pg_catalog.int4);
CREATE TEMPORARY TABLE pg_class (trapped pg_catalog.int4);
CREATE TEMPORARY TABLE pg_trigger (trapped pg_catalog.int4);
CREATE DOMAIN pg_temp.regtype AS pg_catalog.regtype;
CREATE TABLE audit_path.other (id pg_catalog.int4 PRIMARY KEY, c pg_catalog.regclass, t pg_catalog.regtype);
SELECT architect.audit_enable('audit_path.other');
INSERT INTO audit_path.other VALUES (1, 'pg_catalog.pg_class', 'pg_catalog.regtype'), (2, 'pg_catalog.pg_trigger', 'pg_catalog.int4');
SELECT relation, problem FROM architect.audit_status;
TABLE audit_log;
DISCARD TEMP;
RESET search_path;
INSERT INTO audit_path.other VALUES (3, 'pg_class', 'regtype');

SELECT table_name, operation, record_id, old_values, new_values FROM architect.audit_log ORDER BY id;
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA audit_path CASCADE;
-- In several transactions, as each object takes a lock.
DO $$
DECLARE
    trap regprocedure;
    dropped integer := 0;
BEGIN
    FOR trap IN SELECT oid FROM pg_proc WHERE pronamespace = 'evil'::regnamespace LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', trap);
        dropped := dropped + 1;
        IF dropped % 500 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;
DROP SCHEMA evil CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_path_owner, regress_path_attacker;
