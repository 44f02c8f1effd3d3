-- Findings about what policies call and read.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE SCHEMA find;
GRANT USAGE ON SCHEMA find TO regress_find_app;
CREATE TABLE find.doc (tenant_id text NOT NULL, id integer, PRIMARY KEY (tenant_id, id));
INSERT INTO find.doc SELECT 'a', i FROM generate_series(1, 10) AS i UNION ALL SELECT 'b', 1;
GRANT SELECT ON find.doc TO regress_find_app;
ALTER TABLE find.doc ENABLE ROW LEVEL SECURITY;
ALTER TABLE find.doc FORCE ROW LEVEL SECURITY;
CREATE VIEW find.findings AS
    SELECT rule, severity, object, detail, fix FROM architect.tenant_findings
    WHERE relation = 'find.doc'::regclass;
CREATE FUNCTION find.close(wanted text) RETURNS SETOF text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE rule = wanted);
    RETURN QUERY SELECT rule FROM find.findings;
END
$function$;
-- Whether a query of the application searches an index for the tenant.
CREATE FUNCTION find.searches() RETURNS boolean LANGUAGE plpgsql AS $function$
DECLARE
    line text;
    found boolean := false;
BEGIN
    SET LOCAL ROLE regress_find_app;
    FOR line IN EXPLAIN (COSTS OFF) SELECT * FROM find.doc LOOP
        found := found OR line ~ 'Index Cond: .tenant_id';
    END LOOP;
    RESET ROLE;
    RETURN found;
END
$function$;

-- IMMUTABLE is a promise that the planner relies on: the first tenant stays in the plan.
CREATE FUNCTION find.me() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RETURN current_setting('app.tenant_id', true); END$$;
CREATE POLICY own ON find.doc USING (tenant_id = find.me());
SELECT * FROM find.findings \gx
SET plan_cache_mode = force_generic_plan;
PREPARE count_docs AS SELECT count(*) FROM find.doc;
SET ROLE regress_find_app;
BEGIN;
SELECT architect.tenant_set('a');
EXECUTE count_docs;
COMMIT;
BEGIN;
SELECT architect.tenant_set('b');
EXECUTE count_docs;
COMMIT;
RESET ROLE;
SELECT find.close('immutable_function');
SET ROLE regress_find_app;
BEGIN;
SELECT architect.tenant_set('a');
EXECUTE count_docs;
COMMIT;
BEGIN;
SELECT architect.tenant_set('b');
EXECUTE count_docs;
COMMIT;
RESET ROLE;
DEALLOCATE count_docs;
RESET plan_cache_mode;
-- In a sub-select it is the same.  Closed: it is given the row, or what may change; or it is the server's.
CREATE FUNCTION find.same(value text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT value';
ALTER FUNCTION find.me() IMMUTABLE;
ALTER POLICY own ON find.doc USING (tenant_id = (SELECT upper(find.same(find.me()))));
SELECT rule, detail FROM find.findings;
ALTER FUNCTION find.me() STABLE;
ALTER POLICY own ON find.doc USING (find.same(tenant_id) = find.me());
SELECT * FROM find.findings;
ALTER POLICY own ON find.doc USING (tenant_id = find.same((SELECT find.me())) AND tenant_id <> upper('x'));
SELECT * FROM find.findings;

-- Whose policy it is does not run anything as who reads the findings.
CREATE FUNCTION find.trap() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
ALTER POLICY own ON find.doc USING (tenant_id = find.trap() AND id = ANY (ARRAY[length(find.trap())]));
SELECT rule, object FROM find.findings;

-- VOLATILE is run for every row, and keeps indexes from use.
ALTER FUNCTION find.me() VOLATILE;
ALTER POLICY own ON find.doc USING (tenant_id = find.me());
SELECT * FROM find.findings \gx
SET enable_seqscan = off;
SELECT find.searches();
SELECT find.close('volatile_function');
SELECT find.searches();
-- One of the server's cannot be called stable: then the policy has to go without.
ALTER POLICY own ON find.doc USING (tenant_id = find.me() AND random() < 0.5);
SELECT rule, fix FROM find.findings;
SELECT find.close('volatile_function');
ALTER POLICY own ON find.doc USING (tenant_id = find.me() AND now() > '2025-01-01');
SELECT * FROM find.findings;

-- A bare current_setting is read for every row; the accessor, or a sub-select, is not.
ALTER POLICY own ON find.doc USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
SELECT * FROM find.findings \gx
SELECT find.close('bare_setting');
SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'find.doc'::regclass;
ALTER POLICY own ON find.doc
    USING (tenant_id = ANY (string_to_array(current_setting('my.tenants', true), ','))
           AND current_setting('my.role', true) = 'reader');
SELECT rule, fix FROM find.findings;
SELECT find.close('bare_setting');
SET ROLE regress_find_app;
SET my.tenants = 'b,c';
SET my.role = 'reader';
SELECT tenant_id, count(*) FROM find.doc GROUP BY tenant_id;
RESET ROLE;
SELECT find.searches();
SELECT * FROM find.findings;
-- Each kind of tenant has its accessor; another setting has none.
CREATE TABLE find.other (tenant_id uuid NOT NULL PRIMARY KEY, number integer, wide bigint, d varchar);
CREATE POLICY p ON find.other USING (
    tenant_id = current_setting('app.tenant_id')::uuid
    OR number = current_setting('app.tenant_id')::integer
    OR wide = nullif(current_setting('APP.tenant_id', true), '')::bigint
    OR d = current_setting('app.tenant_id', true)
    OR number = current_setting('app.number')::integer
    OR EXISTS (SELECT FROM find.doc WHERE doc.tenant_id = other.d AND doc.tenant_id = current_setting('app.tenant_id')));
SELECT architect.tenant_expression_wrapped(polqual, polrelid) FROM pg_policy WHERE polrelid = 'find.other'::regclass;

-- A sub-select on another table is asked as of the query's beginning; see tenant_findings_race.
CREATE TABLE find.member (tenant text, name text);
ALTER POLICY own ON find.doc USING (tenant_id IN (SELECT tenant FROM find.member WHERE name = current_user));
SELECT * FROM find.findings \gx
SELECT find.close('policy_subselect');
ALTER POLICY own ON find.doc USING (tenant_id = (SELECT find.me()) AND id = ANY (ARRAY(SELECT generate_series(1, 3))));
SELECT * FROM find.findings;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_app;
DROP EXTENSION pg_architect;
