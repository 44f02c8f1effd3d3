-- Findings about row-level security that is off, or does not reach everybody: what each says is so, its
-- fix closes it, and what looks like it and is closed is left alone.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE ROLE regress_find_owner;
CREATE ROLE regress_find_deploy IN ROLE regress_find_owner;
CREATE SCHEMA find AUTHORIZATION regress_find_owner;
GRANT USAGE ON SCHEMA find TO regress_find_app;
GRANT CREATE ON SCHEMA find TO CURRENT_USER;
SET SESSION AUTHORIZATION regress_find_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA find GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO regress_find_app;

CREATE VIEW find.findings AS
    SELECT rule, severity, relation, object FROM architect.tenant_findings
    WHERE relation::text LIKE 'find.%';
-- Runs the fix of a finding as whoever calls, and tells whether it is gone.
CREATE FUNCTION find.close(wanted text, target regclass) RETURNS text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM architect.tenant_findings WHERE rule = wanted AND relation = target);
    RETURN CASE WHEN EXISTS (SELECT FROM architect.tenant_findings WHERE rule = wanted AND relation = target)
                THEN 'still open' ELSE 'closed' END;
END
$function$;

-- A table that tenant_enable has made as the rule book wants it has no finding, whatever its tenant's type.
CREATE TABLE find.well (tenant_id uuid, id integer, PRIMARY KEY (tenant_id, id));
CREATE TABLE find.wide (tenant_id bigint, id integer, PRIMARY KEY (tenant_id, id));
CREATE TABLE find.word (tenant_id varchar, id integer, PRIMARY KEY (tenant_id, id));
CREATE TABLE find.year (tenant_id integer, at date, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
CREATE TABLE find.year_2025 PARTITION OF find.year FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE find.line (tenant_id uuid, id integer, well_id integer, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, well_id) REFERENCES find.well ON DELETE CASCADE);
-- Nor has one that knows no tenant.
CREATE TABLE find.country (code text PRIMARY KEY);
SELECT architect.tenant_enable(name) FROM unnest('{find.well,find.wide,find.word,find.year,find.line}'::regclass[]) AS name;
SELECT * FROM find.findings;

-- Without row-level security everybody sees everything.
CREATE TABLE find.doc (tenant_id text NOT NULL, id integer NOT NULL, PRIMARY KEY (tenant_id, id));
INSERT INTO find.doc VALUES ('a', 1), ('b', 2);
SELECT * FROM find.findings;
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS seen, architect.tenant_current() AS tenant FROM find.doc;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT find.close('rls_off', 'find.doc');
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS seen FROM find.doc;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT * FROM find.findings;
SELECT architect.tenant_disable('find.doc');

-- Policies without it are not asked.
CREATE POLICY own ON find.doc USING (tenant_id = architect.tenant_text());
SELECT * FROM find.findings;
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS seen FROM find.doc;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT find.close('policies_off', 'find.doc');
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS seen FROM find.doc;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT * FROM find.findings;

-- Unless it is forced, the owner sees everything, and so does who has the owner's rights.
ALTER TABLE find.doc NO FORCE ROW LEVEL SECURITY;
SELECT * FROM find.findings;
SELECT count(*) AS seen FROM find.doc;
SET SESSION AUTHORIZATION regress_find_deploy;
SELECT count(*) AS seen FROM find.doc;
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_find_deploy LOGIN;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT rule, severity, relation, object, detail FROM architect.tenant_findings WHERE relation = 'find.doc'::regclass;
SELECT find.close('owner_connection', 'find.doc');
SELECT * FROM find.findings;
SET SESSION AUTHORIZATION regress_find_deploy;
SELECT count(*) AS seen FROM find.doc;
SET SESSION AUTHORIZATION regress_find_owner;
ALTER TABLE find.doc NO FORCE ROW LEVEL SECURITY;
SELECT find.close('rls_not_forced', 'find.doc');

-- Without a policy for anybody the table is empty for all, which is closed, and seldom meant.  A policy
-- that only restricts lets nobody in.
DROP POLICY own ON find.doc;
SELECT * FROM find.findings;
CREATE POLICY less ON find.doc AS RESTRICTIVE USING (true);
SELECT * FROM find.findings;
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS seen FROM find.doc;
-- fails: no policy lets it in
INSERT INTO find.doc VALUES ('c', 1);
SET SESSION AUTHORIZATION regress_find_owner;
SELECT find.close('no_policy', 'find.doc');
SELECT * FROM find.findings;
DROP TABLE find.doc;

-- A partition or child is asked for its own policies when it is named itself.  Those of a table that
-- tenant_enable protects get theirs when they are made.
CREATE TABLE find.month (tenant_id integer NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE find.month_1 PARTITION OF find.month FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE INDEX ON find.month (tenant_id);
CREATE TABLE find.parent (tenant_id integer PRIMARY KEY);
CREATE TABLE find.child () INHERITS (find.parent);
DO $$
DECLARE
    parent regclass;
BEGIN
    FOREACH parent IN ARRAY '{find.month,find.parent}'::regclass[] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', parent);
        EXECUTE format('CREATE POLICY own ON %s USING (tenant_id = architect.tenant_bigint())', parent);
    END LOOP;
END
$$;
INSERT INTO find.month_1 VALUES (1, '2026-01-01');
SELECT * FROM find.findings;
SET SESSION AUTHORIZATION regress_find_app;
SELECT (SELECT count(*) FROM find.month) AS parent, (SELECT count(*) FROM find.month_1) AS partition;
SET SESSION AUTHORIZATION regress_find_owner;
SELECT find.close('child_unprotected', 'find.month_1'), find.close('child_unprotected', 'find.child');
SET SESSION AUTHORIZATION regress_find_app;
SELECT count(*) AS partition FROM find.month_1;
BEGIN;
SELECT architect.tenant_set(1);
SELECT count(*) AS parent FROM find.month;
COMMIT;
SET SESSION AUTHORIZATION regress_find_owner;
-- Closed to all is right for a partition; the child still has no index of its own.
SELECT * FROM find.findings;
-- Who has been given no rights on it does not reach it yet.
ALTER TABLE find.child DISABLE ROW LEVEL SECURITY;
REVOKE ALL ON find.child FROM regress_find_app;
SELECT * FROM find.findings WHERE rule = 'child_unprotected';
CREATE TABLE find.year_2026 PARTITION OF find.year FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT * FROM find.findings WHERE relation = 'find.year_2026'::regclass;
DROP TABLE find.child, find.parent, find.month, find.year;

-- A foreign table cannot have it.
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS file_fdw;
CREATE SERVER regress_find_files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE find.far (tenant_id text, id integer) SERVER regress_find_files
    OPTIONS (program $$printf 'a,1\nb,2\n'$$, format 'csv');
SELECT * FROM find.findings;
GRANT SELECT ON find.far TO regress_find_app;
SELECT * FROM find.findings;
SET ROLE regress_find_app;
SELECT count(*) AS seen FROM find.far;
RESET ROLE;
SELECT find.close('foreign_table', 'find.far');
SET ROLE regress_find_app;
-- fails: no right
SELECT count(*) AS seen FROM find.far;
RESET ROLE;
DROP EXTENSION file_fdw CASCADE;

-- The column can have another name.  A table that is registered is known by the column it was registered with.
CREATE TABLE find.org (org_id text NOT NULL PRIMARY KEY);
CREATE TABLE find.own (account text NOT NULL PRIMARY KEY);
SELECT architect.tenant_enable('find.own', tenant_column => 'account');
SELECT * FROM find.findings;
SET architect.tenant_column = 'org_id';
SELECT * FROM find.findings;
RESET architect.tenant_column;
ALTER TABLE find.own NO FORCE ROW LEVEL SECURITY;
SELECT * FROM find.findings;

-- Anybody may read the findings, and no search_path changes what they mean.
SET ROLE regress_find_app;
CREATE TEMPORARY TABLE pg_class (oid oid, relname name);
CREATE TEMPORARY TABLE pg_policy (oid oid);
SET search_path = pg_temp, find, pg_catalog;
SELECT rule, relation, fix FROM architect.tenant_findings WHERE relation = 'find.own'::regclass;
RESET search_path;
DROP TABLE pg_temp.pg_class, pg_temp.pg_policy;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_deploy, regress_find_owner, regress_find_app;
DROP EXTENSION pg_architect;
