-- tenant: what is open.  First what the rules read: the tables, and what their policies say.
--
-- Every view here runs as its reader, and reads only what the catalogs show everybody.

CREATE OR REPLACE FUNCTION architect.tenant_expression(expression pg_node_tree, tenant_column smallint,
        OUT mentions_tenant boolean, OUT compares_tenant boolean, OUT always_true boolean,
        OUT shows_others boolean, OUT opens_unset boolean, OUT bare_setting boolean, OUT leaky boolean,
        OUT immutable_functions regprocedure[], OUT volatile_functions regprocedure[],
        OUT definer_functions regprocedure[], OUT tables regclass[])
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_expression';
COMMENT ON FUNCTION architect.tenant_expression(pg_node_tree, smallint) IS
'what a policy''s expression says of the tenant in the column of that number; it is read and never run
SELECT polname, said.* FROM pg_policy, architect.tenant_expression(polqual, 2::smallint) AS said;';

-- The tables that have the tenant column: the one they were registered with, or the
-- usual one.  predicate is what the policies of tenant_enable say.
CREATE OR REPLACE VIEW architect._tenant_relations WITH (security_invoker = true) AS
    SELECT class.oid AS relid,
           class.relname,
           class.relkind,
           class.relowner,
           class.relacl,
           class.relrowsecurity AS secured,
           class.relforcerowsecurity AS forced,
           class.relispartition,
           format('%I.%I', namespace.nspname, class.relname) AS name,
           att.attname AS column_name,
           att.attnum,
           att.attnotnull,
           registry.relation IS NOT NULL AS registered,
           format('%I%s', att.attname, kind.accessor) || ' OR architect.tenant_crossing()' AS predicate
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    LEFT JOIN architect.tenant_registry AS registry ON registry.relation = class.oid
    JOIN pg_attribute AS att
      ON att.attrelid = class.oid
     AND att.attname = coalesce(registry.column_name,
                                nullif(current_setting('architect.tenant_column', true), ''), 'tenant_id')
    JOIN pg_type AS type ON type.oid = att.atttypid
    CROSS JOIN LATERAL (
        SELECT CASE coalesce(nullif(type.typbasetype, 0), type.oid)
                   WHEN 'uuid'::regtype THEN ' = architect.tenant_uuid()'
                   WHEN 'bigint'::regtype THEN ' = architect.tenant_bigint()'
                   WHEN 'integer'::regtype THEN ' = architect.tenant_bigint()'
                   WHEN 'smallint'::regtype THEN ' = architect.tenant_bigint()'
                   WHEN 'text'::regtype THEN ' = architect.tenant_text()'
                   WHEN 'varchar'::regtype THEN ' = architect.tenant_text()'
                   ELSE '::text = architect.tenant_text()'
               END AS accessor
    ) AS kind
    WHERE class.relkind IN ('r', 'p', 'f')
      AND class.relpersistence <> 't'
      AND att.attnum > 0
      AND namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'architect')
      AND NOT EXISTS (SELECT FROM pg_depend AS member
                      WHERE member.classid = 'pg_class'::regclass
                        AND member.objid = class.oid
                        AND member.deptype = 'e');
GRANT SELECT ON architect._tenant_relations TO PUBLIC;
COMMENT ON VIEW architect._tenant_relations IS 'tables that have the tenant column';

-- Roles to which row security does not apply.
CREATE OR REPLACE VIEW architect._tenant_bypass WITH (security_invoker = true) AS
    SELECT role.oid, role.rolname, role.rolcanlogin
    FROM pg_roles AS role
    WHERE role.rolsuper OR role.rolbypassrls;
GRANT SELECT ON architect._tenant_bypass TO PUBLIC;
COMMENT ON VIEW architect._tenant_bypass IS 'roles to which row-level security does not apply';

-- Who but the owner, and those who bypass it all, can do what with a table or some of its columns.
CREATE OR REPLACE VIEW architect._tenant_grants WITH (security_invoker = true) AS
    SELECT DISTINCT tenant.relid,
           entry.privilege_type AS privilege,
           CASE WHEN entry.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(role.rolname) END AS role
    FROM architect._tenant_relations AS tenant
    CROSS JOIN LATERAL (
        SELECT given.grantee, given.privilege_type FROM aclexplode(tenant.relacl) AS given
        UNION ALL
        SELECT given.grantee, given.privilege_type
        FROM pg_attribute AS att, aclexplode(att.attacl) AS given
        WHERE att.attrelid = tenant.relid AND att.attacl IS NOT NULL
    ) AS entry
    LEFT JOIN pg_roles AS role ON role.oid = entry.grantee
    WHERE entry.grantee <> tenant.relowner
      AND NOT EXISTS (SELECT FROM architect._tenant_bypass AS bypass WHERE bypass.oid = entry.grantee);
GRANT SELECT ON architect._tenant_grants TO PUBLIC;
COMMENT ON VIEW architect._tenant_grants IS 'who but the owner can do what with a table that has the tenant column';
