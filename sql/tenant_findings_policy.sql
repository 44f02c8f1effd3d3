-- Findings about which rows policies let through: what each says is so, its fix closes it, and what looks
-- like it and is closed is left alone.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE ROLE regress_find_support;
CREATE SCHEMA find;
GRANT USAGE ON SCHEMA find TO regress_find_app, regress_find_support;
CREATE TABLE find.doc (tenant_id text NOT NULL, id integer, is_public boolean NOT NULL, PRIMARY KEY (tenant_id, id));
INSERT INTO find.doc VALUES ('a', 1, false), ('a', 2, true), ('b', 3, false), ('b', 4, true);
GRANT SELECT, INSERT, UPDATE, DELETE ON find.doc TO regress_find_app, regress_find_support;
ALTER TABLE find.doc ENABLE ROW LEVEL SECURITY;
ALTER TABLE find.doc FORCE ROW LEVEL SECURITY;

CREATE VIEW find.findings AS
    SELECT rule, severity, object, detail, fix FROM architect.tenant_findings WHERE relation = 'find.doc'::regclass;
-- Runs the fix of a finding, and tells what is left.
CREATE FUNCTION find.close(wanted text) RETURNS SETOF text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE rule = wanted);
    RETURN QUERY SELECT rule FROM find.findings;
END
$function$;
-- What the role sees of other tenants than a, and how many rows it could write as another tenant's.
CREATE FUNCTION find.sees(role text, tenant text, OUT others bigint, OUT wrote integer) LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('app.tenant_id', tenant, true), set_config('role', role, true);
    SELECT count(*) INTO others FROM find.doc WHERE doc.tenant_id IS DISTINCT FROM nullif(tenant, '');
    BEGIN
        INSERT INTO find.doc VALUES ('c', 5, false);
        wrote := 1;
        RAISE EXCEPTION USING ERRCODE = 'raise_exception';
    EXCEPTION
        WHEN insufficient_privilege THEN wrote := 0;
        WHEN raise_exception THEN NULL;
    END;
    PERFORM set_config('role', 'none', true);
END
$function$;

-- The tenant's policy is closed.  So is a table whose policies say nothing: NULL is no, and no WITH CHECK is USING.
CREATE POLICY own ON find.doc USING (tenant_id = architect.tenant_text());
SELECT tenant, sees.* FROM unnest('{a,""}'::text[]) AS tenant, find.sees('regress_find_app', tenant) AS sees;
SELECT * FROM find.findings \gx
CREATE POLICY nothing ON find.doc FOR UPDATE USING (NULL);
CREATE POLICY nobody ON find.doc FOR DELETE USING (false);
CREATE POLICY added ON find.doc FOR INSERT WITH CHECK (NULL);
CREATE POLICY less ON find.doc AS RESTRICTIVE USING (true) WITH CHECK (true);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
DROP POLICY nothing ON find.doc;
DROP POLICY nobody ON find.doc;
DROP POLICY added ON find.doc;

-- Always true.
CREATE POLICY everything ON find.doc USING (true);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
SELECT find.close('policy_always_true');
SELECT * FROM find.sees('regress_find_app', 'a');
DROP POLICY everything ON find.doc;
CREATE POLICY everything ON find.doc FOR SELECT TO regress_find_support USING (1 = 1 OR tenant_id = 'a');
SELECT app.others AS app, support.others AS support
FROM find.sees('regress_find_app', 'a') AS app, find.sees('regress_find_support', 'a') AS support;
SELECT rule, object FROM find.findings;
DROP POLICY everything ON find.doc;

-- A restrictive policy that confines it makes it harmless, for the same commands and roles.
CREATE POLICY everything ON find.doc USING (true);
CREATE POLICY floor ON find.doc AS RESTRICTIVE USING (tenant_id = architect.tenant_text());
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
ALTER POLICY floor ON find.doc TO regress_find_support;
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT rule, object FROM find.findings;
ALTER POLICY everything ON find.doc TO regress_find_support;
SELECT * FROM find.findings \gx
DROP POLICY floor ON find.doc;
CREATE POLICY floor ON find.doc AS RESTRICTIVE FOR SELECT USING (tenant_id = architect.tenant_text());
ALTER POLICY everything ON find.doc TO PUBLIC;
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT rule, object FROM find.findings;
DROP POLICY floor ON find.doc;
CREATE POLICY floor ON find.doc AS RESTRICTIVE USING (tenant_id = architect.tenant_text()) WITH CHECK (true);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT rule, object FROM find.findings;
SELECT find.close('check_without_tenant');
SELECT * FROM find.sees('regress_find_app', 'a');
DROP POLICY floor ON find.doc;
DROP POLICY everything ON find.doc;

-- It does not ask for the tenant.
CREATE POLICY published ON find.doc USING (is_public);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
SELECT find.close('policy_without_tenant');
SELECT * FROM find.sees('regress_find_app', 'a');
DROP POLICY published ON find.doc;
CREATE POLICY later ON find.doc FOR SELECT USING (tenant_id > 'a');
SELECT rule, object FROM find.findings;
DROP POLICY later ON find.doc;

-- It asks for it and has another way out.
CREATE POLICY shared ON find.doc FOR SELECT USING (is_public OR tenant_id = architect.tenant_text());
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
SELECT find.close('policy_partly_open');
SELECT * FROM find.sees('regress_find_app', 'a');
ALTER POLICY shared ON find.doc USING (is_public AND tenant_id = architect.tenant_text());
SELECT * FROM find.findings \gx
DROP POLICY shared ON find.doc;

-- WITH CHECK that drops the tenant lets a row be given away, and made for others.
DROP POLICY own ON find.doc;
CREATE POLICY own ON find.doc USING (tenant_id = architect.tenant_text()) WITH CHECK (tenant_id IS NOT NULL);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT * FROM find.findings \gx
SELECT find.close('check_without_tenant');
SELECT * FROM find.sees('regress_find_app', 'a');
CREATE POLICY made ON find.doc FOR INSERT WITH CHECK (true);
SELECT * FROM find.sees('regress_find_app', 'a');
SELECT rule, object FROM find.findings;
SELECT find.close('check_without_tenant');
SELECT * FROM find.sees('regress_find_app', 'a');
DROP POLICY made ON find.doc;

-- It opens as long as nobody says who the tenant is.
DROP POLICY own ON find.doc;
CREATE POLICY own ON find.doc
    USING (coalesce(current_setting('app.tenant_id', true), '') = ''
           OR tenant_id = (SELECT current_setting('app.tenant_id', true)))
    WITH CHECK ((SELECT current_setting('app.tenant_id', true)) IN ('', tenant_id));
SELECT tenant, sees.* FROM unnest('{a,""}'::text[]) AS tenant, find.sees('regress_find_app', tenant) AS sees;
SELECT * FROM find.findings WHERE rule = 'unset_opens' \gx
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT fix FROM find.findings WHERE rule = 'unset_opens' LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
SELECT rule FROM find.findings;
SELECT tenant, sees.* FROM unnest('{a,""}'::text[]) AS tenant, find.sees('regress_find_app', tenant) AS sees;
ALTER POLICY own ON find.doc
    USING (coalesce((SELECT nullif(current_setting('app.tenant_id', true), '')), 'nobody') = tenant_id)
    WITH CHECK (tenant_id = (SELECT current_setting('app.tenant_id', true)));
SELECT tenant, sees.* FROM unnest('{a,""}'::text[]) AS tenant, find.sees('regress_find_app', tenant) AS sees;
SELECT * FROM find.findings \gx

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_app, regress_find_support;
DROP EXTENSION pg_architect;
