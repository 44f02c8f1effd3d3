-- tenant: findings about ways around the policies: rights, roles and what reads as its owner.

CREATE OR REPLACE VIEW architect._tenant_findings_grant WITH (security_invoker = true) AS
    WITH tenant AS MATERIALIZED (
        SELECT * FROM architect._tenant_relations AS relation WHERE relation.secured OR relation.registered
    ), sequence AS (
        -- Of a serial or identity column, or in a column's default.
        SELECT DISTINCT tenant.relid, class.oid, class.relname, class.relowner, class.relacl,
               format('%I.%I', namespace.nspname, class.relname) AS name
        FROM (SELECT owned.objid AS sequence, owned.refobjid AS relid
              FROM pg_depend AS owned
              WHERE owned.classid = 'pg_class'::regclass AND owned.refclassid = 'pg_class'::regclass
                AND owned.deptype IN ('a', 'i')
              UNION ALL
              SELECT used.refobjid, filled.adrelid
              FROM pg_attrdef AS filled
              JOIN pg_depend AS used
                ON used.classid = 'pg_attrdef'::regclass AND used.objid = filled.oid
               AND used.refclassid = 'pg_class'::regclass) AS use
        JOIN tenant ON tenant.relid = use.relid
        JOIN pg_class AS class ON class.oid = use.sequence AND class.relkind = 'S'
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    )
    SELECT 'grant_' || lower(granted.privilege) AS rule,
           CASE granted.privilege WHEN 'REFERENCES' THEN 'warning' ELSE 'critical' END AS severity,
           tenant.relid::regclass AS relation, granted.role AS object,
           CASE granted.privilege
               WHEN 'TRUNCATE' THEN
                   format('TRUNCATE asks no policy: %s can remove the rows of all tenants.', granted.role)
               WHEN 'TRIGGER' THEN
                   format('A trigger of %s would be given the rows that all tenants write.', granted.role)
               ELSE
                   format('A foreign key of %s asks no policy: it tells which keys other tenants have.', granted.role)
           END AS detail,
           format('REVOKE %s ON TABLE %s FROM %s CASCADE;', granted.privilege, tenant.name, granted.role) AS fix
    FROM tenant
    JOIN architect._tenant_grants AS granted ON granted.relid = tenant.relid
    WHERE granted.privilege IN ('TRUNCATE', 'TRIGGER', 'REFERENCES')
    UNION ALL
    SELECT 'sequence_grant', 'warning', sequence.relid::regclass,
           format('%s: %s', sequence.name, role.name),
           format('All tenants share the sequence; %s can %s it, and so learn how many rows the others add.',
                  role.name, string_agg(CASE entry.privilege_type WHEN 'UPDATE' THEN 'set' ELSE 'read' END, ' and '
                                        ORDER BY entry.privilege_type)),
           format('REVOKE SELECT, UPDATE ON SEQUENCE %s FROM %s CASCADE;', sequence.name, role.name)
    FROM sequence
    CROSS JOIN LATERAL aclexplode(sequence.relacl) AS entry
    CROSS JOIN LATERAL (
        SELECT CASE WHEN entry.grantee = 0 THEN 'PUBLIC'
                    ELSE quote_ident((SELECT rolname FROM pg_roles WHERE oid = entry.grantee)) END AS name
    ) AS role
    WHERE entry.privilege_type IN ('SELECT', 'UPDATE')
      AND entry.grantee <> sequence.relowner
      AND NOT EXISTS (SELECT FROM architect._tenant_bypass AS bypass WHERE bypass.oid = entry.grantee)
    GROUP BY sequence.relid, sequence.name, role.name;
GRANT SELECT ON architect._tenant_findings_grant TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_grant IS 'findings about rights to which no policy applies';

CREATE OR REPLACE VIEW architect._tenant_findings_role WITH (security_invoker = true) AS
    WITH RECURSIVE becomes AS (
        -- Which roles each can SET ROLE to.  From 16 on a membership may not allow it.
        SELECT membership.member, membership.roleid
        FROM pg_auth_members AS membership
        WHERE coalesce((to_jsonb(membership) ->> 'set_option')::boolean, true)
        UNION
        SELECT becomes.member, membership.roleid
        FROM becomes
        JOIN pg_auth_members AS membership ON membership.member = becomes.roleid
        WHERE coalesce((to_jsonb(membership) ->> 'set_option')::boolean, true)
    )
    -- The bootstrap superuser has to be there.
    SELECT 'role_bypasses' AS rule, 'warning' AS severity, NULL::regclass AS relation, bypass.rolname::text AS object,
           'It can log in, and no policy applies to it.' AS detail,
           format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS;', bypass.rolname) AS fix
    FROM architect._tenant_bypass AS bypass
    WHERE bypass.rolcanlogin AND bypass.oid <> 10
      AND EXISTS (SELECT FROM architect._tenant_relations)
    UNION ALL
    SELECT 'role_can_bypass', 'warning', NULL, role.rolname,
           format('It can log in, and with SET ROLE become %I, to which no policy applies.', bypass.rolname),
           (SELECT string_agg(format('REVOKE %I FROM %I%s;', bypass.rolname, holder.rolname,
                                     ' GRANTED BY ' || quote_ident(grantor.rolname)), ' ' ORDER BY holder.rolname)
            FROM pg_auth_members AS last
            JOIN pg_roles AS holder ON holder.oid = last.member
            LEFT JOIN pg_roles AS grantor ON grantor.oid = last.grantor
            WHERE last.roleid = bypass.oid
              AND (last.member = role.oid
                   OR EXISTS (SELECT FROM becomes AS way WHERE way.member = role.oid AND way.roleid = last.member)))
    FROM becomes
    JOIN pg_roles AS role ON role.oid = becomes.member AND role.rolcanlogin
    JOIN architect._tenant_bypass AS bypass ON bypass.oid = becomes.roleid
    WHERE NOT role.rolsuper AND NOT role.rolbypassrls
      AND EXISTS (SELECT FROM architect._tenant_relations);
GRANT SELECT ON architect._tenant_findings_role TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_role IS 'findings about roles to which no policy applies';

CREATE OR REPLACE VIEW architect._tenant_findings_publication WITH (security_invoker = true) AS
    WITH tenant AS MATERIALIZED (
        SELECT relation.*, class.relnamespace
        FROM architect._tenant_relations AS relation
        JOIN pg_class AS class ON class.oid = relation.relid
        WHERE relation.secured OR relation.registered
    )
    SELECT 'publication' AS rule, 'warning' AS severity, tenant.relid::regclass AS relation,
           publication.pubname::text AS object,
           'It carries the rows of all tenants to its subscribers, where these policies are not.' AS detail,
           format('ALTER PUBLICATION %I DROP TABLE %s;', publication.pubname, tenant.name) AS fix
    FROM tenant
    JOIN pg_publication_rel AS published ON published.prrelid = tenant.relid
    JOIN pg_publication AS publication ON publication.oid = published.prpubid
    LEFT JOIN LATERAL architect.tenant_expression(published.prqual, tenant.attnum) AS said
      ON published.prqual IS NOT NULL
    WHERE coalesce(said.shows_others, true)
    UNION ALL
    SELECT 'publication', 'warning', NULL, publication.pubname,
           format('It carries schema %I, and so the rows of all tenants, to its subscribers. Tables: %s.',
                  namespace.nspname, carried.tables),
           format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I;', publication.pubname, namespace.nspname)
    FROM pg_publication_namespace AS published
    JOIN pg_publication AS publication ON publication.oid = published.pnpubid
    JOIN pg_namespace AS namespace ON namespace.oid = published.pnnspid
    JOIN (SELECT relnamespace, count(*) AS tables FROM tenant GROUP BY relnamespace) AS carried
      ON carried.relnamespace = published.pnnspid
    UNION ALL
    SELECT 'publication', 'warning', NULL, publication.pubname,
           format('It carries all tables, and so the rows of all tenants, to its subscribers. Tables: %s.',
                  carried.tables),
           format('DROP PUBLICATION %I;', publication.pubname)
    FROM pg_publication AS publication
    JOIN (SELECT count(*) AS tables FROM tenant) AS carried ON carried.tables > 0
    WHERE publication.puballtables;
GRANT SELECT ON architect._tenant_findings_publication TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_publication IS 'findings about publications of protected tables';
