-- tenant: all findings.

-- As its reader.  To compile so large a query takes longer than to run it, and loops over
-- catalogs that were not analyzed since they grew take far longer than hashes.  What is not
-- in the search path is written with its schema, so that a fix means the same everywhere.
CREATE OR REPLACE FUNCTION architect.tenant_find()
    RETURNS TABLE (rule text, severity text, relation regclass, object text, detail text, fix text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 COST 10000
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET enable_seqscan = on
    SET enable_hashjoin = on
    SET enable_nestloop = off
AS $function$
    SELECT * FROM architect._tenant_findings_table
    UNION ALL
    SELECT * FROM architect._tenant_findings_policy
    UNION ALL
    SELECT * FROM architect._tenant_findings_grant
    UNION ALL
    SELECT * FROM architect._tenant_findings_role
    UNION ALL
    SELECT * FROM architect._tenant_findings_publication
    UNION ALL
    SELECT * FROM architect._tenant_findings_owner
    UNION ALL
    SELECT * FROM architect._tenant_findings_column
    UNION ALL
    SELECT * FROM architect._tenant_findings_key
    UNION ALL
    SELECT * FROM architect._tenant_findings_index
$function$;
COMMENT ON FUNCTION architect.tenant_find() IS
'what the view tenant_findings shows, in no order
SELECT * FROM architect.tenant_find();';

CREATE OR REPLACE VIEW architect.tenant_findings WITH (security_invoker = true) AS
    SELECT finding.rule, finding.severity, finding.relation, finding.object, finding.detail, finding.fix
    FROM architect.tenant_find() AS finding
    ORDER BY array_position('{critical,warning,performance,hint}', finding.severity),
             finding.rule COLLATE "C", finding.relation::text COLLATE "C", finding.object COLLATE "C",
             finding.detail COLLATE "C";
GRANT SELECT ON architect.tenant_findings TO PUBLIC;
COMMENT ON VIEW architect.tenant_findings IS
'what is open or slow under row-level security by tenant: one row a hole, with the SQL that closes it
SELECT * FROM architect.tenant_findings;';
COMMENT ON COLUMN architect.tenant_findings.severity IS 'critical, warning, performance or hint';
COMMENT ON COLUMN architect.tenant_findings.relation IS 'table that is concerned; NULL: all of them';
COMMENT ON COLUMN architect.tenant_findings.object IS 'policy, index, constraint, role, … that makes the hole';
COMMENT ON COLUMN architect.tenant_findings.fix IS 'statements that close it; read them before you run them';
