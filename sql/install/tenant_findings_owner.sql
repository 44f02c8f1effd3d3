-- tenant: findings about what reads with its owner's rights: views, materialized views, functions.

CREATE OR REPLACE FUNCTION architect.tenant_reads(query pg_node_tree)
    RETURNS regclass[]
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_reads';
COMMENT ON FUNCTION architect.tenant_reads(pg_node_tree) IS
'tables and views that a view''s rule or a function''s parsed body reads or writes
SELECT ev_class::regclass, architect.tenant_reads(ev_action) FROM pg_rewrite WHERE ev_class >= 16384;';

-- Which views read which protected tables: by themselves (direct), or through other views.
CREATE OR REPLACE VIEW architect._tenant_readers WITH (security_invoker = true) AS
    WITH RECURSIVE tenant AS MATERIALIZED (
        SELECT * FROM architect._tenant_relations AS relation WHERE relation.secured OR relation.registered
    ), reads AS MATERIALIZED (
        SELECT DISTINCT rule.ev_class AS reader, read.relid::oid AS relid
        FROM pg_rewrite AS rule
        JOIN pg_class AS class ON class.oid = rule.ev_class AND class.relkind IN ('v', 'm')
        JOIN pg_namespace AS namespace
          ON namespace.oid = class.relnamespace
         AND namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'architect')
        CROSS JOIN LATERAL unnest(architect.tenant_reads(rule.ev_action)) AS read (relid)
        WHERE read.relid <> rule.ev_class
    ), reach (reader, relid, direct) AS (
        SELECT reads.reader, tenant.relid, true
        FROM reads
        JOIN tenant ON tenant.relid = reads.relid
        UNION
        SELECT reads.reader, reach.relid, false
        FROM reach
        JOIN reads ON reads.relid = reach.reader
    )
    SELECT class.oid AS reader,
           class.relname,
           class.relkind,
           class.relowner,
           class.relacl,
           format('%I.%I', namespace.nspname, class.relname) AS name,
           coalesce((SELECT option.option_value::boolean FROM pg_options_to_table(class.reloptions) AS option
                     WHERE option.option_name = 'security_invoker'), false) AS as_reader,
           tenant.relid,
           bool_or(reach.direct) AS direct
    FROM reach
    JOIN tenant ON tenant.relid = reach.relid
    JOIN pg_class AS class ON class.oid = reach.reader
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    GROUP BY class.oid, namespace.nspname, tenant.relid;
GRANT SELECT ON architect._tenant_readers TO PUBLIC;
COMMENT ON VIEW architect._tenant_readers IS 'views of protected tables';

-- For which owners of tables, views and functions the policies of a table are not asked.
CREATE OR REPLACE VIEW architect._tenant_exempt WITH (security_invoker = true) AS
    SELECT tenant.relid, role.oid AS role
    FROM architect._tenant_relations AS tenant
    JOIN pg_roles AS role
      ON role.rolsuper OR role.rolbypassrls
      OR (NOT tenant.forced AND pg_has_role(role.oid, tenant.relowner, 'USAGE'))
    WHERE tenant.secured OR tenant.registered;
GRANT SELECT ON architect._tenant_exempt TO PUBLIC;
COMMENT ON VIEW architect._tenant_exempt IS 'roles to which the policies of a table do not apply';

CREATE OR REPLACE VIEW architect._tenant_findings_owner WITH (security_invoker = true) AS
    WITH reader AS MATERIALIZED (
        SELECT * FROM architect._tenant_readers
    ), exempt AS MATERIALIZED (
        SELECT * FROM architect._tenant_exempt
    ), word AS MATERIALIZED (
        -- What a function names, its comments left out; a body that was parsed has dependencies instead.
        SELECT DISTINCT proc.oid, coalesce(lower(found.word[1]), found.word[2]) AS word
        FROM pg_proc AS proc
        JOIN pg_language AS language ON language.oid = proc.prolang AND language.lanname NOT IN ('internal', 'c')
        CROSS JOIN LATERAL regexp_matches(
            regexp_replace(regexp_replace(proc.prosrc, '/\*.*?\*/', ' ', 'g'), '--[^\n]*', ' ', 'g'),
            '([[:alpha:]_][[:alnum:]_$]*)|"([^"]+)"', 'g') AS found (word)
        WHERE proc.prosecdef AND proc.prosqlbody IS NULL
    ), named AS (
        SELECT relation.relid, relation.relname, relation.relid AS named
        FROM architect._tenant_relations AS relation
        WHERE relation.secured OR relation.registered
        UNION ALL
        SELECT reader.relid, reader.relname, reader.reader FROM reader WHERE reader.as_reader
    ), reads AS (
        SELECT word.oid, named.relid FROM word JOIN named ON named.relname = word.word
        UNION
        SELECT proc.oid, named.relid
        FROM pg_proc AS proc
        CROSS JOIN LATERAL unnest(architect.tenant_reads(proc.prosqlbody)) AS read (relid)
        JOIN named ON named.named = read.relid
        WHERE proc.prosecdef
    )
    SELECT 'view_as_owner' AS rule, CASE WHEN exempt.role IS NULL THEN 'hint' ELSE 'critical' END AS severity,
           reader.relid::regclass AS relation, reader.name AS object,
           CASE WHEN exempt.role IS NULL
                THEN format('Policies are asked for %I, who owns the view, instead of for whoever reads it.',
                            owner.rolname)
                ELSE format('It reads as %I, who owns it, and to whom the policies of the table do not apply: '
                            'whoever may read the view sees the rows of all tenants.', owner.rolname)
           END AS detail,
           format('ALTER VIEW %s SET (security_invoker = true);', reader.name) AS fix
    FROM reader
    JOIN pg_roles AS owner ON owner.oid = reader.relowner
    LEFT JOIN exempt ON exempt.relid = reader.relid AND exempt.role = reader.relowner
    WHERE reader.relkind = 'v' AND reader.direct AND NOT reader.as_reader
    UNION ALL
    SELECT 'materialized_view', 'critical', reader.relid::regclass, reader.name,
           format('It keeps rows of the table, has no policies itself, and %s can read it.', granted.roles),
           format('REVOKE ALL ON TABLE %s FROM %s CASCADE;', reader.name, granted.roles)
    FROM reader
    CROSS JOIN LATERAL (
        SELECT string_agg(DISTINCT CASE WHEN entry.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(role.rolname) END, ', ')
        FROM (SELECT (aclexplode(reader.relacl)).grantee
              UNION
              SELECT (aclexplode(att.attacl)).grantee FROM pg_attribute AS att
              WHERE att.attrelid = reader.reader AND att.attacl IS NOT NULL) AS entry
        LEFT JOIN pg_roles AS role ON role.oid = entry.grantee
        WHERE entry.grantee <> reader.relowner
          AND NOT EXISTS (SELECT FROM architect._tenant_bypass AS bypass WHERE bypass.oid = entry.grantee)
    ) AS granted (roles)
    WHERE reader.relkind = 'm' AND granted.roles IS NOT NULL
    UNION ALL
    SELECT 'definer_function', 'critical', reads.relid::regclass, signature.text,
           format('It names the table and runs as %I, who owns it, and to whom the policies of the table do not apply.',
                  owner.rolname),
           format('ALTER ROUTINE %s SECURITY INVOKER;', signature.text)
    FROM reads
    JOIN pg_proc AS proc ON proc.oid = reads.oid AND proc.prosecdef
    JOIN exempt ON exempt.relid = reads.relid AND exempt.role = proc.proowner
    JOIN pg_roles AS owner ON owner.oid = proc.proowner
    JOIN pg_namespace AS namespace ON namespace.oid = proc.pronamespace
    CROSS JOIN LATERAL (
        SELECT format('%I.%I(%s)', namespace.nspname, proc.proname,
                      pg_get_function_identity_arguments(proc.oid))
    ) AS signature (text)
    WHERE proc.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
      AND (proc.proacl IS NULL
           OR EXISTS (SELECT FROM aclexplode(proc.proacl) AS entry WHERE entry.grantee <> proc.proowner))
      AND NOT EXISTS (SELECT FROM pg_depend AS member
                      WHERE member.classid = 'pg_proc'::regclass AND member.objid = proc.oid AND member.deptype = 'e');
GRANT SELECT ON architect._tenant_findings_owner TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_owner IS
    'findings about what reads protected tables with its owner''s rights';
