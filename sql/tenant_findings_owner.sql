-- Findings about views, materialized views and functions that read with their owner's rights.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE ROLE regress_find_owner;
CREATE ROLE regress_find_admin SUPERUSER;
SET SESSION AUTHORIZATION regress_find_admin;
CREATE SCHEMA find AUTHORIZATION regress_find_owner;
GRANT USAGE ON SCHEMA find TO regress_find_app;
CREATE VIEW find.findings AS
    SELECT rule, severity, object, detail, fix FROM architect.tenant_findings WHERE relation = to_regclass('find.doc');
CREATE FUNCTION find.close(wanted text, target text) RETURNS text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE rule = wanted AND object = target);
    RETURN CASE WHEN EXISTS (SELECT FROM find.findings WHERE rule = wanted AND object = target)
                THEN 'still open' ELSE 'closed' END;
END
$function$;

SET SESSION AUTHORIZATION regress_find_owner;
CREATE TABLE find.doc (tenant_id text, id integer, PRIMARY KEY (tenant_id, id));
INSERT INTO find.doc VALUES ('a', 1), ('b', 2);
SELECT architect.tenant_enable('find.doc');
GRANT SELECT ON find.doc TO regress_find_app;
SET SESSION AUTHORIZATION regress_find_admin;

-- A view of somebody to whom the policies do not apply shows all.
CREATE VIEW find.everything AS SELECT * FROM find.doc;
GRANT SELECT ON find.everything TO regress_find_app;
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
SELECT count(*) AS seen FROM find.everything;
RESET ROLE;
SELECT find.close('view_as_owner', 'find.everything');
SET ROLE regress_find_app;
SELECT count(*) AS seen FROM find.everything;
RESET ROLE;
-- A view of that view asks for the reader, like any view as long as it is not one of the table itself.
CREATE VIEW find.outer AS SELECT * FROM find.everything;
CREATE VIEW find.named AS SELECT 'find.doc'::regclass, count(*) FROM find.findings;
GRANT SELECT ON find.outer TO regress_find_app;
SET ROLE regress_find_app;
SELECT count(*) AS seen FROM find.outer;
RESET ROLE;
SELECT * FROM find.findings;
-- Reading it in a sub-select, or writing it in a rule, is to use it too.
CREATE VIEW find.counted AS SELECT (SELECT count(*) FROM find.doc) AS count;
CREATE VIEW find.written AS SELECT 1 AS id;
CREATE RULE remove AS ON DELETE TO find.written DO INSTEAD DELETE FROM find.doc;
SELECT rule, severity, object FROM find.findings;
DROP VIEW find.counted, find.written, find.named, find.outer, find.everything;

-- The view of an owner whom the policies bind is confined; they are asked for the owner all the same.
SET SESSION AUTHORIZATION regress_find_owner;
CREATE VIEW find.owned AS SELECT * FROM find.doc;
GRANT SELECT ON find.owned TO regress_find_app;
SET SESSION AUTHORIZATION regress_find_admin;
SELECT * FROM find.findings \gx
BEGIN;
SELECT architect.tenant_set('a');
SET LOCAL ROLE regress_find_app;
SELECT count(*) AS seen FROM find.owned;
COMMIT;
-- Not so where row-level security is not forced.
ALTER TABLE find.doc NO FORCE ROW LEVEL SECURITY;
SELECT rule, severity, object FROM find.findings;
BEGIN;
SELECT architect.tenant_set('a');
SET LOCAL ROLE regress_find_app;
SELECT count(*) AS seen FROM find.owned;
COMMIT;
ALTER TABLE find.doc FORCE ROW LEVEL SECURITY;
SELECT find.close('view_as_owner', 'find.owned');
DROP VIEW find.owned;

-- A materialized view keeps what its owner saw, through whatever views; without rights on it nobody sees it.
CREATE VIEW find.asked WITH (security_invoker = on) AS SELECT * FROM find.doc;
CREATE MATERIALIZED VIEW find.kept AS SELECT * FROM find.asked;
SELECT * FROM find.findings;
GRANT SELECT (id) ON find.kept TO regress_find_app;
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
SELECT count(id) AS seen FROM find.kept;
RESET ROLE;
SELECT find.close('materialized_view', 'find.kept');
SET ROLE regress_find_app;
-- fails: no right
SELECT count(id) AS seen FROM find.kept;
RESET ROLE;
DROP MATERIALIZED VIEW find.kept;

-- A SECURITY DEFINER function reads as its owner.
CREATE FUNCTION find.all_docs() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN RETURN (SELECT count(*) FROM find.doc); END';
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
SELECT find.all_docs() AS seen;
RESET ROLE;
SELECT find.close('definer_function', 'find.all_docs()');
SET ROLE regress_find_app;
SELECT find.all_docs() AS seen;
RESET ROLE;
DROP FUNCTION find.all_docs;
-- By its parsed body, through a view that asks for the reader, in a procedure, or in a text to be executed.
CREATE FUNCTION find.parsed(wanted integer) RETURNS bigint LANGUAGE sql SECURITY DEFINER
    RETURN (SELECT count(*) FROM find.doc WHERE id = wanted);
CREATE FUNCTION find.through() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT 1; SELECT count(*) FROM find.asked; END;
CREATE PROCEDURE find.run() LANGUAGE plpgsql SECURITY DEFINER AS
    $$BEGIN EXECUTE 'DELETE FROM find."doc"'; END$$;
SELECT rule, severity, object, fix FROM find.findings;
SELECT find.close(rule, object) FROM find.findings;
SELECT * FROM find.findings;
-- Closed: it says what it is about and does not read it; nobody else may call it; a trigger is not called;
-- it runs as whoever calls; its owner is bound by the policies.
CREATE FUNCTION find.unread() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS
    $$BEGIN /* not doc,
    nor doc */ RETURN 1; -- nor find.doc
END$$;
CREATE FUNCTION find.words() RETURNS regclass LANGUAGE sql SECURITY DEFINER RETURN 'find.doc'::regclass;
CREATE FUNCTION find.private() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM find.doc';
REVOKE EXECUTE ON FUNCTION find.private() FROM PUBLIC;
CREATE FUNCTION find.fires() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN PERFORM FROM find.doc; RETURN new; END';
CREATE FUNCTION find.plain() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM find.doc';
CREATE FUNCTION find.bound() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM find.doc';
ALTER FUNCTION find.bound() OWNER TO regress_find_owner;
SELECT * FROM find.findings;
BEGIN;
SELECT architect.tenant_set('a');
SET LOCAL ROLE regress_find_app;
SELECT find.bound() AS seen;
COMMIT;
GRANT EXECUTE ON FUNCTION find.private() TO regress_find_app;
SELECT rule, object FROM find.findings;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
RESET SESSION AUTHORIZATION;
DROP ROLE regress_find_app, regress_find_owner, regress_find_admin;
DROP EXTENSION pg_architect;
