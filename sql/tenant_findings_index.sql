-- Findings about indexes that row-level security keeps from use.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_find_app;
CREATE SCHEMA find;
GRANT USAGE ON SCHEMA find TO regress_find_app;
CREATE TABLE find.doc (tenant_id integer NOT NULL, id integer, amount numeric, body jsonb, note text, at timestamptz,
    PRIMARY KEY (tenant_id, id));
GRANT SELECT ON find.doc TO regress_find_app;
CREATE VIEW find.findings AS
    SELECT rule, severity, object, detail, fix FROM architect.tenant_findings
    WHERE relation = 'find.doc'::regclass AND rule <> 'rls_off';
CREATE FUNCTION find.close(target text) RETURNS SETOF text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE object = target);
    RETURN QUERY SELECT object FROM find.findings;
END
$function$;

CREATE INDEX amount ON find.doc (amount);
CREATE INDEX tenant_amount ON find.doc (tenant_id, amount);
CREATE INDEX body ON find.doc USING gin (body);
CREATE INDEX lower_note ON find.doc (lower(note));
-- Usable: equality of these is leakproof, as is what the expression calls; or what follows it is not asked for first.
CREATE INDEX note ON find.doc (note);
CREATE INDEX note_pattern ON find.doc (note text_pattern_ops);
CREATE INDEX at ON find.doc (tenant_id, at, amount);
CREATE INDEX expression ON find.doc ((tenant_id = id));
CREATE INDEX hashed ON find.doc USING hash (note);
-- These are there for what they forbid.
CREATE UNIQUE INDEX one_amount ON find.doc (tenant_id, amount, id);
ALTER TABLE find.doc ADD CONSTRAINT amounts EXCLUDE (tenant_id WITH =, amount WITH =, id WITH =);

-- Nothing is in the way as long as there is no row-level security.
SELECT * FROM find.findings;
SELECT architect.tenant_enable('find.doc');
SELECT * FROM find.findings \gx

-- The same queries, for who is asked for policies and who is not.
SET enable_seqscan = off;
SET app.tenant_id = '1';
CREATE FUNCTION find.index_of(query text) RETURNS text LANGUAGE plpgsql AS $function$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Index Cond' THEN
            RETURN trim(line);
        END IF;
    END LOOP;
    RETURN 'no index condition';
END
$function$;
CREATE VIEW find.queries WITH (security_invoker = true) AS
    SELECT column1 AS condition, find.index_of('SELECT * FROM find.doc WHERE ' || column1) AS used
    FROM (VALUES ('amount = 5'), ('lower(note) = ''x'''), ('note = ''x'''), ('body @> ''{}''')) AS query;
GRANT SELECT ON find.queries TO regress_find_app;
SELECT condition, used LIKE '%' || split_part(condition, ' ', 1) || '%' AS uses_index FROM find.queries;
SET ROLE regress_find_app;
SELECT condition, used LIKE '%' || split_part(condition, ' ', 1) || '%' AS uses_index FROM find.queries;
RESET ROLE;

SELECT find.close('amount');
SELECT find.close('tenant_amount');
SELECT find.close('body');
SELECT find.close('lower_note');
SELECT * FROM find.findings;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_app;
DROP EXTENSION pg_architect;
