-- tenant: findings about what the policies say, by their parsed expressions.

-- One row a clause that is there: USING or WITH CHECK.
CREATE OR REPLACE VIEW architect._tenant_clauses WITH (security_invoker = true) AS
    SELECT tenant.relid,
           tenant.name,
           tenant.predicate,
           policy.oid,
           policy.polname,
           policy.polcmd,
           policy.polpermissive,
           policy.polroles,
           policy.polwithcheck IS NOT NULL AS has_check,
           clause.side,
           clause.expression,
           said.*
    FROM architect._tenant_relations AS tenant
    JOIN pg_policy AS policy ON policy.polrelid = tenant.relid
    CROSS JOIN LATERAL (
        VALUES ('using', policy.polqual), ('check', policy.polwithcheck)
    ) AS clause (side, expression)
    CROSS JOIN LATERAL architect.tenant_expression(clause.expression, tenant.attnum) AS said
    WHERE tenant.secured
      AND clause.expression IS NOT NULL;
GRANT SELECT ON architect._tenant_clauses TO PUBLIC;
COMMENT ON VIEW architect._tenant_clauses IS
    'clauses of the policies of tables that have the tenant column, and what they say of it';

-- What is open: of each permissive policy, the side (USING or WITH CHECK) and the commands
-- that neither it nor a restrictive policy for the same roles confines to the tenant.
-- WITH CHECK that is not there is USING; where neither is, nothing is let through.
CREATE OR REPLACE VIEW architect._tenant_open_policies WITH (security_invoker = true) AS
    WITH clause AS MATERIALIZED (
        SELECT said.*, command.cmd, asked.side AS asked
        FROM architect._tenant_clauses AS said
        CROSS JOIN unnest('{r,a,w,d}'::"char"[]) AS command (cmd)
        CROSS JOIN unnest('{using,check}'::text[]) AS asked (side)
        WHERE said.polcmd IN ('*', command.cmd)
          AND (asked.side = 'using' AND command.cmd <> 'a' OR asked.side = 'check' AND command.cmd IN ('a', 'w'))
          AND said.side = CASE WHEN said.has_check THEN asked.side ELSE 'using' END
    ), judged AS (
        SELECT clause.oid, clause.asked, clause.always_true, clause.compares_tenant,
               clause.shows_others AND NOT EXISTS (
                   SELECT FROM clause AS floor
                   WHERE floor.relid = clause.relid AND floor.cmd = clause.cmd AND floor.asked = clause.asked
                     AND NOT floor.polpermissive AND NOT floor.shows_others
                     AND (floor.polroles = '{0}' OR floor.polroles @> clause.polroles)) AS shows_others,
               clause.opens_unset AND NOT EXISTS (
                   SELECT FROM clause AS floor
                   WHERE floor.relid = clause.relid AND floor.cmd = clause.cmd AND floor.asked = clause.asked
                     AND NOT floor.polpermissive AND NOT floor.shows_others AND NOT floor.opens_unset
                     AND (floor.polroles = '{0}' OR floor.polroles @> clause.polroles)) AS opens_unset
        FROM clause
        WHERE clause.polpermissive AND (clause.shows_others OR clause.opens_unset)
    )
    SELECT policy.polrelid AS relid, policy.polname,
           pg_get_expr(policy.polqual, policy.polrelid, true) AS using_text,
           pg_get_expr(policy.polwithcheck, policy.polrelid, true) AS check_text,
           bool_or(judged.asked = 'using' AND judged.shows_others) AS using_shows,
           bool_or(judged.asked = 'using' AND judged.always_true) AS using_always,
           bool_or(judged.asked = 'using' AND judged.compares_tenant) AS using_compares,
           bool_or(judged.asked = 'using' AND judged.opens_unset) AS using_unset,
           bool_or(judged.asked = 'check' AND judged.shows_others) AS check_shows,
           bool_or(judged.asked = 'check' AND judged.opens_unset) AS check_unset
    FROM judged
    JOIN pg_policy AS policy ON policy.oid = judged.oid
    WHERE judged.shows_others OR judged.opens_unset
    GROUP BY policy.oid, policy.polrelid, policy.polname, using_text, check_text;
GRANT SELECT ON architect._tenant_open_policies TO PUBLIC;
COMMENT ON VIEW architect._tenant_open_policies IS
    'permissive policies that are not confined to the tenant, and by what';

CREATE OR REPLACE VIEW architect._tenant_findings_policy WITH (security_invoker = true) AS
    WITH open AS MATERIALIZED (
        SELECT opened.*,
               tenant.predicate,
               format('ALTER POLICY %I ON %s', opened.polname, tenant.name) AS alter,
               format('((%s) AND (%s))', opened.using_text, tenant.predicate) AS using_fix,
               format('((%s) AND (%s))', coalesce(opened.check_text, opened.using_text), tenant.predicate)
                   AS check_fix
        FROM architect._tenant_open_policies AS opened
        JOIN architect._tenant_relations AS tenant ON tenant.relid = opened.relid
    )
    SELECT 'policy_always_true' AS rule, 'critical' AS severity, open.relid::regclass AS relation,
           open.polname::text AS object,
           format('USING (%s) is true for the rows of every other tenant.', open.using_text) AS detail,
           format('%s USING (%s);', open.alter, open.predicate) AS fix
    FROM open
    WHERE open.using_shows AND open.using_always
    UNION ALL
    SELECT 'policy_without_tenant', 'critical', open.relid::regclass, open.polname,
           format('USING (%s) does not ask whose row it is.', open.using_text),
           format('%s USING %s;', open.alter, open.using_fix)
    FROM open
    WHERE open.using_shows AND NOT open.using_always AND NOT open.using_compares
    UNION ALL
    SELECT 'policy_partly_open', 'warning', open.relid::regclass, open.polname,
           format('USING (%s) has another way to be true than that the row is the tenant''s.', open.using_text),
           format('%s USING %s;', open.alter, open.using_fix)
    FROM open
    WHERE open.using_shows AND NOT open.using_always AND open.using_compares
    UNION ALL
    SELECT 'check_without_tenant', 'critical', open.relid::regclass, open.polname,
           format('WITH CHECK (%s) lets a row of another tenant be written.',
                  coalesce(open.check_text, open.using_text)),
           format('%s WITH CHECK %s;', open.alter, open.check_fix)
    FROM open
    WHERE open.check_shows AND (open.check_text IS NOT NULL OR NOT open.using_shows)
    UNION ALL
    SELECT 'unset_opens', 'critical', open.relid::regclass, open.polname,
           format('%s is true for rows of all tenants as long as no tenant is set.',
                  CASE WHEN open.using_unset THEN format('USING (%s)', open.using_text)
                       ELSE format('WITH CHECK (%s)', open.check_text) END),
           concat(open.alter,
                  CASE WHEN open.using_unset THEN ' USING ' || open.using_fix END,
                  CASE WHEN open.check_unset AND open.check_text IS NOT NULL
                       THEN ' WITH CHECK ' || open.check_fix END, ';')
    FROM open
    WHERE open.using_unset OR open.check_unset;
GRANT SELECT ON architect._tenant_findings_policy TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_policy IS 'findings about which rows the policies let through';
