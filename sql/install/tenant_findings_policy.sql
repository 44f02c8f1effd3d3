-- tenant: findings about what the policies say, by their parsed expressions.

CREATE OR REPLACE FUNCTION architect.tenant_expression_wrapped(expression pg_node_tree, target oid)
    RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_expression_wrapped';
COMMENT ON FUNCTION architect.tenant_expression_wrapped(pg_node_tree, oid) IS
'text of a policy''s expression, written so that settings are read once a query and not once a row
SELECT polname, architect.tenant_expression_wrapped(polqual, polrelid) FROM pg_policy;';

-- One row a clause that is there: USING or WITH CHECK.
CREATE OR REPLACE VIEW architect._tenant_clauses WITH (security_invoker = true) AS
    SELECT tenant.relid,
           tenant.predicate,
           policy.oid,
           policy.polname,
           policy.polcmd,
           policy.polpermissive,
           policy.polroles,
           policy.polwithcheck IS NOT NULL AS has_check,
           format('ALTER POLICY %I ON %s', policy.polname, tenant.name) AS alter,
           clause.side,
           clause.expression,
           said.*
    FROM architect._tenant_relations AS tenant
    JOIN pg_policy AS policy ON policy.polrelid = tenant.relid
    CROSS JOIN LATERAL (
        VALUES ('USING', policy.polqual), ('WITH CHECK', policy.polwithcheck)
    ) AS clause (side, expression)
    CROSS JOIN LATERAL architect.tenant_expression(clause.expression, tenant.attnum) AS said
    WHERE tenant.secured
      AND clause.expression IS NOT NULL;
GRANT SELECT ON architect._tenant_clauses TO PUBLIC;
COMMENT ON VIEW architect._tenant_clauses IS
    'clauses of the policies of tables that have the tenant column, and what they say of it';

-- judged: which commands of which permissive policies neither they nor a restrictive
-- policy for the same roles confine to the tenant.  WITH CHECK that is not there is
-- USING; where neither is, nothing is let through.
CREATE OR REPLACE VIEW architect._tenant_findings_policy WITH (security_invoker = true) AS
    WITH clause AS MATERIALIZED (
        SELECT * FROM architect._tenant_clauses
    ), asked AS MATERIALIZED (
        SELECT clause.relid, clause.oid, clause.polpermissive, clause.polroles, clause.always_true,
               clause.compares_tenant, clause.shows_others, clause.opens_unset, command.cmd, command.side
        FROM clause
        JOIN (VALUES ('r', 'USING'), ('w', 'USING'), ('d', 'USING'), ('a', 'WITH CHECK'), ('w', 'WITH CHECK'))
             AS command (cmd, side)
          ON clause.polcmd IN ('*', command.cmd::"char")
         AND clause.side = CASE WHEN clause.has_check THEN command.side ELSE 'USING' END
    ), judged AS (
        SELECT asked.oid, asked.side, asked.always_true, asked.compares_tenant,
               asked.shows_others AND count(floor.oid) = 0 AS shows_others,
               asked.opens_unset AND count(floor.oid) FILTER (WHERE NOT floor.opens_unset) = 0 AS opens_unset
        FROM asked
        LEFT JOIN asked AS floor
          ON floor.relid = asked.relid AND floor.cmd = asked.cmd AND floor.side = asked.side
         AND NOT floor.polpermissive AND NOT floor.shows_others
         AND (floor.polroles = '{0}' OR floor.polroles @> asked.polroles)
        WHERE asked.polpermissive AND (asked.shows_others OR asked.opens_unset)
        GROUP BY asked.oid, asked.cmd, asked.side, asked.always_true, asked.compares_tenant,
                 asked.shows_others, asked.opens_unset
    ), open AS MATERIALIZED (
        SELECT judged.oid,
               bool_or(judged.side = 'USING' AND judged.shows_others) AS using_shows,
               bool_or(judged.side = 'USING' AND judged.always_true) AS using_always,
               bool_or(judged.side = 'USING' AND judged.compares_tenant) AS using_compares,
               bool_or(judged.side = 'USING' AND judged.opens_unset) AS using_unset,
               bool_or(judged.side = 'WITH CHECK' AND judged.shows_others) AS check_shows,
               bool_or(judged.side = 'WITH CHECK' AND judged.opens_unset) AS check_unset
        FROM judged
        WHERE judged.shows_others OR judged.opens_unset
        GROUP BY judged.oid
    ), rule AS (
        SELECT CASE WHEN open.using_always THEN 'policy_always_true'
                    WHEN open.using_compares THEN 'policy_partly_open'
                    ELSE 'policy_without_tenant' END AS rule,
               CASE WHEN open.using_compares AND NOT open.using_always THEN 'warning' ELSE 'critical' END AS severity,
               open.oid, 'USING' AS side, 'USING' AS fixed,
               CASE WHEN open.using_always THEN 'is true for the rows of every other tenant.'
                    WHEN open.using_compares
                        THEN 'can be true in another way than by the row being the tenant''s.'
                    ELSE 'does not ask whose row it is.' END AS detail,
               CASE WHEN open.using_always THEN 'tenant' ELSE 'and tenant' END AS fix
        FROM open
        WHERE open.using_shows
        UNION ALL
        SELECT 'check_without_tenant', 'critical', open.oid,
               CASE WHEN policy.polwithcheck IS NULL THEN 'USING' ELSE 'WITH CHECK' END, 'WITH CHECK',
               'lets a row of another tenant be written.', 'and tenant'
        FROM open
        JOIN pg_policy AS policy ON policy.oid = open.oid
        WHERE open.check_shows AND (policy.polwithcheck IS NOT NULL OR NOT open.using_shows)
        UNION ALL
        SELECT 'unset_opens', 'critical', open.oid, said.side, said.side,
               'is true for rows of all tenants as long as no tenant is set.', 'and tenant'
        FROM open
        JOIN clause AS said
          ON said.oid = open.oid AND said.opens_unset
         AND CASE said.side WHEN 'USING' THEN open.using_unset OR (open.check_unset AND NOT said.has_check)
                            ELSE open.check_unset END
        UNION ALL
        SELECT 'immutable_function', 'critical', said.oid, said.side, said.side,
               format('calls %s, IMMUTABLE by its own word: a plan that is kept keeps its result, '
                      'and so the tenant for whom it was made.', array_to_string(said.immutable_functions, ', ')),
               'immutable'
        FROM clause AS said
        WHERE said.immutable_functions IS NOT NULL
        UNION ALL
        SELECT 'volatile_function', 'performance', said.oid, said.side, said.side,
               format('calls %s, VOLATILE: it is run for every row, and no index helps.',
                      array_to_string(said.volatile_functions, ', ')), 'volatile'
        FROM clause AS said
        WHERE said.volatile_functions IS NOT NULL
        UNION ALL
        SELECT 'bare_setting', 'performance', said.oid, said.side, said.side,
               'reads and casts a setting again for every row.', 'wrapped'
        FROM clause AS said
        WHERE said.bare_setting
        UNION ALL
        SELECT 'policy_subselect', 'warning', said.oid, said.side, said.side,
               format('reads %s, whose rows may be changed while the policy is asked: a row can be seen, or '
                      'written, by rights that are gone already.', array_to_string(said.tables, ', ')), 'tenant'
        FROM clause AS said
        WHERE said.tables IS NOT NULL
    )
    SELECT rule.rule, rule.severity, clause.relid::regclass AS relation, clause.polname::text AS object,
           format('%s (%s) %s', clause.side, pg_get_expr(clause.expression, clause.relid, true), rule.detail) AS detail,
           CASE
               WHEN rule.fix = 'and tenant'
                   THEN format('%s %s ((%s) AND (%s));', clause.alter, rule.fixed,
                               pg_get_expr(clause.expression, clause.relid, true), clause.predicate)
               WHEN rule.fix = 'wrapped'
                   THEN format('%s %s (%s);', clause.alter, rule.fixed,
                               architect.tenant_expression_wrapped(clause.expression, clause.relid))
               WHEN rule.fix = 'immutable' OR (rule.fix = 'volatile' AND users.only)
                   THEN (SELECT string_agg(format('ALTER FUNCTION %I.%I(%s) STABLE;', namespace.nspname, proc.proname,
                                                  pg_get_function_identity_arguments(proc.oid)), ' ')
                         FROM pg_proc AS proc
                         JOIN pg_namespace AS namespace ON namespace.oid = proc.pronamespace
                         WHERE proc.oid = ANY (CASE rule.fix WHEN 'immutable' THEN clause.immutable_functions
                                                             ELSE clause.volatile_functions END::oid[]))
               ELSE format('%s %s (%s);', clause.alter, rule.fixed, clause.predicate)
           END AS fix
    FROM rule
    JOIN clause ON clause.oid = rule.oid AND clause.side = rule.side
    CROSS JOIN LATERAL (
        -- The server's own functions stay what they are.
        SELECT bool_and(called.function::oid >= 16384) AS only
        FROM unnest(clause.volatile_functions) AS called (function)
    ) AS users;
GRANT SELECT ON architect._tenant_findings_policy TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_policy IS 'findings about what policies say';
