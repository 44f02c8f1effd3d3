-- tenant: protect tables, and say how they are protected.

CREATE OR REPLACE FUNCTION architect.tenant_enable(
        target regclass,
        tenant_column name DEFAULT NULL,
        roles name[] DEFAULT '{public}',
        add_column boolean DEFAULT false,
        column_type regtype DEFAULT NULL,
        path name[] DEFAULT NULL,
        fix boolean DEFAULT false,
        online boolean DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_enable';
COMMENT ON FUNCTION architect.tenant_enable(
    regclass, name, name[], boolean, regtype, name[], boolean, boolean) IS
'protect the rows of a table by tenant; for the table''s owner
SELECT architect.tenant_enable(''public.orders'', tenant_column => ''tenant_id'');';

CREATE OR REPLACE FUNCTION architect.tenant_enable_plan(
        target regclass,
        tenant_column name DEFAULT NULL,
        roles name[] DEFAULT '{public}',
        add_column boolean DEFAULT false,
        column_type regtype DEFAULT NULL,
        path name[] DEFAULT NULL,
        fix boolean DEFAULT false,
        online boolean DEFAULT NULL)
    RETURNS TABLE (step integer, statement text, why text, lock text, undo text, transactional boolean, inside text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_enable_plan';
COMMENT ON FUNCTION architect.tenant_enable_plan(
    regclass, name, name[], boolean, regtype, name[], boolean, boolean) IS
'statements, in order, that tenant_enable would run or leave to you
SELECT * FROM architect.tenant_enable_plan(''public.orders'');';

CREATE OR REPLACE FUNCTION architect.tenant_disable(
        target regclass,
        keep_column boolean DEFAULT true,
        keep_fixes boolean DEFAULT false)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_disable';
COMMENT ON FUNCTION architect.tenant_disable(regclass, boolean, boolean) IS
'take back what tenant_enable did; for the table''s owner
SELECT architect.tenant_disable(''public.orders'');';

CREATE OR REPLACE FUNCTION architect.tenant_policy_state(
        target regclass, policy name, tenant_column name, kind text, roles name[])
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    WITH wanted AS (
        -- As the server shows it: a column of another type is cast to that of the operator.
        SELECT format('((%s = architect.tenant_%s()) OR architect.tenant_crossing())', form.operand, kind) AS expression
        FROM (VALUES (format('%I', tenant_column)),
                     (format('(%I)::%s', tenant_column, kind)),
                     (format('(%I)::integer', tenant_column)),
                     (format('((%I)::character varying)::text', tenant_column))) AS form (operand)
    )
    SELECT coalesce((
        SELECT CASE WHEN policy.polcmd = '*'
                     AND policy.polpermissive = ($2 <> 'architect_tenant_floor')
                     AND pg_get_expr(policy.polqual, target) IN (SELECT wanted.expression FROM wanted)
                     AND pg_get_expr(policy.polwithcheck, target) = pg_get_expr(policy.polqual, target)
                     AND (SELECT array_agg(coalesce(role.rolname, 'public') ORDER BY role.rolname)
                          FROM unnest(policy.polroles) AS member (oid)
                          LEFT JOIN pg_roles AS role ON role.oid = member.oid)
                         = (SELECT array_agg(asked.role ORDER BY asked.role) FROM unnest($5) AS asked (role))
                    THEN 'right' ELSE 'other' END
        FROM pg_policy AS policy
        WHERE policy.polrelid = target AND policy.polname = $2), 'missing')
$function$;
COMMENT ON FUNCTION architect.tenant_policy_state(regclass, name, name, text, name[]) IS
'whether a policy of ours is as it has to be: right, other or missing
SELECT architect.tenant_policy_state(''public.orders'', ''architect_tenant'', ''tenant_id'', ''uuid'', ''{public}'');';

CREATE OR REPLACE VIEW architect.tenant_tables AS
    SELECT registered.relation,
           registered.column_name,
           registered.kind,
           registered.roles,
           registered.enabled_at,
           class.relrowsecurity AS row_security,
           class.relforcerowsecurity AS forced,
           ARRAY(SELECT policy.polname FROM pg_policy AS policy
                 WHERE policy.polrelid = registered.relation
                   AND policy.polname NOT IN ('architect_tenant', 'architect_tenant_floor')
                 ORDER BY policy.polname) AS other_policies,
           CASE WHEN class.oid IS NULL THEN 'the table does not exist'
                WHEN attribute.attname IS NULL THEN format('column "%s" does not exist', registered.column_name)
                WHEN NOT class.relrowsecurity THEN 'row level security is disabled'
                WHEN NOT class.relforcerowsecurity THEN 'row level security is not forced, so the owner is not held'
                WHEN state.floor <> 'right' THEN format('policy "architect_tenant_floor" is %s', state.floor_said)
                WHEN state.policy <> 'right' THEN format('policy "architect_tenant" is %s', state.policy_said)
                ELSE (SELECT format('%s, which inherits from it, is not protected', child.inhrelid::regclass)
                      FROM pg_inherits AS child
                      JOIN pg_class AS child_class ON child_class.oid = child.inhrelid
                                                  AND child_class.relkind IN ('r', 'p', 'f')
                      WHERE child.inhparent = registered.relation
                        AND NOT EXISTS (SELECT FROM architect.tenant_registry AS other
                                        WHERE other.relation = child.inhrelid)
                      ORDER BY child.inhrelid::regclass::text
                      LIMIT 1)
           END AS problem
    FROM architect.tenant_registry AS registered
    LEFT JOIN pg_class AS class ON class.oid = registered.relation
    LEFT JOIN pg_attribute AS attribute
      ON attribute.attrelid = class.oid
     AND attribute.attname = registered.column_name
     AND NOT attribute.attisdropped
    CROSS JOIN LATERAL (
        SELECT found.policy, found.floor,
               CASE found.policy WHEN 'missing' THEN 'missing' ELSE 'not as tenant_enable made it' END AS policy_said,
               CASE found.floor WHEN 'missing' THEN 'missing' ELSE 'not as tenant_enable made it' END AS floor_said
        FROM (SELECT architect.tenant_policy_state(registered.relation, 'architect_tenant', registered.column_name,
                                                   registered.kind, registered.roles) AS policy,
                     architect.tenant_policy_state(registered.relation, 'architect_tenant_floor',
                                                   registered.column_name, registered.kind,
                                                   registered.roles) AS floor) AS found
    ) AS state;
GRANT SELECT ON architect.tenant_tables TO PUBLIC;
COMMENT ON VIEW architect.tenant_tables IS
'every table that tenant_enable protects, how, and what is wrong with it
SELECT * FROM architect.tenant_tables;';
COMMENT ON COLUMN architect.tenant_tables.other_policies IS 'policies of others, which count beside ours';
COMMENT ON COLUMN architect.tenant_tables.problem IS 'why the table is not protected as registered; NULL: it is';

CREATE OR REPLACE FUNCTION architect._tenant_adopted(target regclass, undos text[])
    RETURNS text[]
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- Policies by our names were made from our plan, or come from a dump without the register.
    SELECT coalesce(array_agg(known.undo ORDER BY known.number), '{}')
    FROM (VALUES (1, 'ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY'),
                 (2, 'ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY'),
                 (3, 'DROP POLICY IF EXISTS architect_tenant_floor ON %1$s'),
                 (4, 'DROP POLICY IF EXISTS architect_tenant ON %1$s')) AS known (number, undo)
    WHERE known.undo <> ALL (undos)
      AND EXISTS (SELECT FROM pg_policy AS ours
                  WHERE ours.polrelid = target AND ours.polname IN ('architect_tenant', 'architect_tenant_floor'))
      AND 'DROP POLICY IF EXISTS architect_tenant_floor ON %1$s' <> ALL (undos)
      AND (known.number > 2
           OR NOT EXISTS (SELECT FROM pg_policy AS other
                          WHERE other.polrelid = target
                            AND other.polname NOT IN ('architect_tenant', 'architect_tenant_floor')))
$function$;
REVOKE ALL ON FUNCTION architect._tenant_adopted(regclass, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_adopted(regclass, text[]) IS
    'what undoes the protection of a table that had it before it was registered; undos is what this call did';

CREATE OR REPLACE FUNCTION architect._tenant_register(
        target regclass, tenant_column name, roles name[], members oid[], relations oid[], undos text[])
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    chosen name := architect._tenant_column(target, tenant_column);
    allowed name[] := architect._tenant_roles(roles);
    wanted_kind text := architect._tenant_kind(target, chosen);
    changed integer;
BEGIN
    WITH member AS (
        SELECT tree.relation,
               -- What was done last is undone first.
               ARRAY(SELECT step.undo
                     FROM unnest(relations, undos) WITH ORDINALITY AS step (relation, undo, number)
                     WHERE step.relation = tree.relation
                       AND step.undo <> ALL (coalesce(registered.undo, '{}'))
                     ORDER BY step.number DESC)
               || CASE WHEN registered.relation IS NULL THEN architect._tenant_adopted(
                      tree.relation, ARRAY(SELECT step.undo FROM unnest(relations, undos) AS step (relation, undo)
                                           WHERE step.relation = tree.relation))
                  END AS undo
        FROM unnest(members) AS tree (relation)
        LEFT JOIN architect.tenant_registry AS registered ON registered.relation = tree.relation
    ), put AS (
        INSERT INTO architect.tenant_registry AS registered (relation, column_name, kind, roles, undo)
        SELECT member.relation, chosen, wanted_kind, allowed, member.undo
        FROM member
        ON CONFLICT (relation) DO UPDATE
        SET column_name = excluded.column_name,
            kind = excluded.kind,
            roles = excluded.roles,
            undo = excluded.undo || registered.undo
        WHERE (registered.column_name, registered.kind, registered.roles)
              <> (excluded.column_name, excluded.kind, excluded.roles)
           OR excluded.undo <> '{}'
        RETURNING registered.relation
    )
    SELECT count(architect._tenant_invalidate(put.relation)) INTO changed FROM put;
    RETURN changed;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_register(regclass, name, name[], oid[], oid[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_register(regclass, name, name[], oid[], oid[], text[]) IS
    'enters a table and those below it in the register, with what undoes the steps; returns how many changed';

CREATE OR REPLACE FUNCTION architect._tenant_unregister(target regclass)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    removed integer;
BEGIN
    WITH gone AS (
        DELETE FROM architect.tenant_registry AS registered
        USING architect._tenant_tree(target) AS tree (relation)
        WHERE registered.relation = tree.relation
        RETURNING registered.relation
    )
    SELECT count(architect._tenant_invalidate(gone.relation)) INTO removed FROM gone;
    RETURN removed;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_unregister(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_unregister(regclass) IS
    'takes a table and those below it from the register';

CREATE OR REPLACE FUNCTION architect._tenant_undo(target regclass)
    RETURNS TABLE (relation oid, statement text, why text, lock text, undo text, transactional boolean, inside text,
                   rule text, undo_template text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    SELECT tree.relation, step.statement, 'it was so before tenant_enable',
           format('ACCESS EXCLUSIVE on %s', tree.relation), NULL, true, step.statement, step.rule, NULL
    FROM architect._tenant_tree(target) WITH ORDINALITY AS tree (relation, place)
    JOIN architect.tenant_registry AS registered ON registered.relation = tree.relation
    CROSS JOIN LATERAL unnest(registered.undo) WITH ORDINALITY AS undone (statement, number)
    CROSS JOIN LATERAL (
        SELECT format(undone.statement, tree.relation, registered.column_name) AS statement,
               CASE WHEN undone.statement LIKE 'ALTER TABLE \%1$s DROP COLUMN %' THEN 'column'
                    WHEN undone.statement !~ '^(DROP POLICY|ALTER TABLE %1\$s (NO FORCE|DISABLE|ALTER COLUMN)) '
                        THEN 'fix'
               END AS rule
    ) AS step
    -- Foreign keys of other tables may have come to need an index.
    WHERE NOT EXISTS (SELECT FROM pg_constraint AS link
                      WHERE link.contype = 'f'
                        AND link.conindid = to_regclass(substring(step.statement FROM '^DROP INDEX IF EXISTS (.*)$'))
                        AND link.conrelid NOT IN (SELECT member.relation
                                                  FROM architect._tenant_tree(target) AS member (relation)))
    ORDER BY tree.place DESC, undone.number
$function$;
REVOKE ALL ON FUNCTION architect._tenant_undo(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_undo(regclass) IS
    'the steps that take back what tenant_enable did to a table and those below it';

CREATE OR REPLACE FUNCTION architect._tenant_invalidate(target oid)
    RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_invalidate';
REVOKE ALL ON FUNCTION architect._tenant_invalidate(oid) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_invalidate(oid) IS
    'lets all sessions plan anew what reads the table';
