-- tenant: findings about whether row-level security is on at all.

CREATE OR REPLACE VIEW architect._tenant_findings_table WITH (security_invoker = true) AS
    WITH tenant AS MATERIALIZED (
        SELECT tenant.*,
               policy.polrelid IS NOT NULL AS has_policy,
               coalesce(policy.has_permissive, false) AS has_permissive,
               granted.roles AS granted_to
        FROM architect._tenant_relations AS tenant
        LEFT JOIN (SELECT polrelid, bool_or(polpermissive) AS has_permissive
                   FROM pg_policy GROUP BY polrelid) AS policy ON policy.polrelid = tenant.relid
        LEFT JOIN (SELECT relid, string_agg(DISTINCT role, ', ') AS roles
                   FROM architect._tenant_grants
                   WHERE privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
                   GROUP BY relid) AS granted ON granted.relid = tenant.relid
    ), child AS (
        -- Reached by its own name, a child is asked for its own policies alone.
        SELECT child.relid, min(parent.name) AS parent
        FROM tenant AS child
        JOIN pg_inherits AS inherits ON inherits.inhrelid = child.relid
        JOIN tenant AS parent ON parent.relid = inherits.inhparent
        WHERE parent.secured OR parent.registered
        GROUP BY child.relid
    )
    SELECT 'rls_off' AS rule, 'critical' AS severity, tenant.relid::regclass AS relation,
           tenant.relname::text AS object,
           'Every role that may read or write the table sees and changes the rows of all tenants.' AS detail,
           format('SELECT architect.tenant_enable(%L, tenant_column => %L);', tenant.name, tenant.column_name) AS fix
    FROM tenant
    WHERE NOT tenant.secured AND NOT tenant.has_policy AND tenant.relkind <> 'f'
      AND NOT EXISTS (SELECT FROM child WHERE child.relid = tenant.relid)
    UNION ALL
    SELECT 'policies_off', 'critical', tenant.relid::regclass, tenant.relname,
           'It has policies, and they do nothing: row-level security is not enabled on it.',
           format('ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY; ALTER TABLE %1$s FORCE ROW LEVEL SECURITY;', tenant.name)
    FROM tenant
    WHERE NOT tenant.secured AND tenant.has_policy
      AND NOT EXISTS (SELECT FROM child WHERE child.relid = tenant.relid)
    UNION ALL
    SELECT 'child_unprotected', CASE WHEN tenant.granted_to IS NULL THEN 'warning' ELSE 'critical' END,
           tenant.relid::regclass, tenant.relname,
           format('The policies of %s are not asked when a query names this table itself, which %s may do.',
                  child.parent, coalesce(tenant.granted_to, 'only its owner and those given rights on it later')),
           format('ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY; ALTER TABLE %1$s FORCE ROW LEVEL SECURITY;', tenant.name)
    FROM tenant
    JOIN child ON child.relid = tenant.relid
    WHERE NOT tenant.secured AND tenant.relkind <> 'f'
    UNION ALL
    SELECT 'rls_not_forced', 'warning', tenant.relid::regclass, tenant.relname,
           format('Policies do not apply to the owner %I, nor to views and SECURITY DEFINER functions of that role.',
                  owner.rolname),
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', tenant.name)
    FROM tenant
    JOIN pg_roles AS owner ON owner.oid = tenant.relowner
    WHERE tenant.secured AND NOT tenant.forced
    UNION ALL
    SELECT 'owner_connection', 'critical', tenant.relid::regclass, owner.rolname,
           format('Sessions of %s have the rights of the owner, to whom the policies do not apply.', member.names),
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', tenant.name)
    FROM tenant
    JOIN (SELECT owner.oid, string_agg(quote_ident(role.rolname), ', ' ORDER BY role.rolname) AS names
          FROM (SELECT DISTINCT relowner AS oid FROM tenant) AS owner
          JOIN pg_roles AS role
            ON role.rolcanlogin AND NOT role.rolsuper AND NOT role.rolbypassrls
           AND pg_has_role(role.oid, owner.oid, 'MEMBER')
          GROUP BY owner.oid) AS member ON member.oid = tenant.relowner
    JOIN pg_roles AS owner ON owner.oid = tenant.relowner
    WHERE tenant.secured AND NOT tenant.forced
    UNION ALL
    SELECT 'no_policy', 'hint', tenant.relid::regclass, tenant.relname,
           'No policy lets anybody in: row-level security is on, and for all but the roles that bypass it '
           'the table is empty and cannot be written.',
           format('SELECT architect.tenant_enable(%L, tenant_column => %L);', tenant.name, tenant.column_name)
    FROM tenant
    WHERE tenant.secured AND NOT tenant.has_permissive
      AND NOT EXISTS (SELECT FROM child WHERE child.relid = tenant.relid)
    UNION ALL
    SELECT 'foreign_table', 'critical', tenant.relid::regclass, tenant.relname,
           format('A foreign table cannot have row-level security, so that %s see the rows of all tenants in it.',
                  tenant.granted_to),
           format('REVOKE ALL ON TABLE %s FROM %s;', tenant.name, tenant.granted_to)
    FROM tenant
    WHERE tenant.relkind = 'f' AND tenant.granted_to IS NOT NULL;
GRANT SELECT ON architect._tenant_findings_table TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_table IS 'findings about whether row-level security is on at all';
