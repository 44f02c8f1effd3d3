-- tenant: the steps by which a table comes to be protected.  tenant_enable_plan
-- shows them, tenant_enable runs them.

CREATE OR REPLACE FUNCTION architect._tenant_step(
        relation regclass, statement text, why text, lock text, undo text, transactional boolean DEFAULT true,
        inside text DEFAULT NULL, rule text DEFAULT NULL, leave boolean DEFAULT false)
    RETURNS architect._tenant_step
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT ROW(relation, statement, why, lock, undo, transactional,
               CASE WHEN leave THEN NULL WHEN transactional THEN coalesce(inside, statement) ELSE inside END,
               rule)::architect._tenant_step
$function$;
REVOKE ALL ON FUNCTION architect._tenant_step(
    regclass, text, text, text, text, boolean, text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_step(regclass, text, text, text, text, boolean, text, text, boolean) IS
    'a step of the plan; with leave, it is left to the caller though it could run in a transaction';

CREATE OR REPLACE FUNCTION architect._tenant_verbatim(statement text)
    RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT replace(statement, '%', '%%')
$function$;
REVOKE ALL ON FUNCTION architect._tenant_verbatim(text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_verbatim(text) IS
    'a statement, or part of one, as it has to be written in undo';

CREATE OR REPLACE FUNCTION architect._tenant_base_type(type oid)
    RETURNS oid
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE chain AS (
        SELECT type AS member
        UNION ALL
        SELECT domain.typbasetype
        FROM chain
        JOIN pg_type AS domain ON domain.oid = chain.member
        WHERE domain.typtype = 'd'
    )
    SELECT chain.member
    FROM chain
    JOIN pg_type AS base ON base.oid = chain.member
    WHERE base.typtype <> 'd'
$function$;
REVOKE ALL ON FUNCTION architect._tenant_base_type(oid) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_base_type(oid) IS
    'the type below a domain, or the type itself';

CREATE OR REPLACE FUNCTION architect._tenant_kind_of(type oid)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE architect._tenant_base_type(type)
               WHEN 'uuid'::regtype THEN 'uuid'
               WHEN 'bigint'::regtype THEN 'bigint'
               WHEN 'integer'::regtype THEN 'bigint'
               WHEN 'text'::regtype THEN 'text'
               WHEN 'varchar'::regtype THEN 'text'
           END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_kind_of(oid) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_kind_of(oid) IS
    'which function a tenant column of this type is compared with; NULL: none';

CREATE OR REPLACE FUNCTION architect._tenant_kind(relation regclass, tenant_column name)
    RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    short_name name := (SELECT class.relname FROM pg_class AS class WHERE class.oid = relation);
    asked record;
BEGIN
    SELECT architect._tenant_kind_of(attribute.atttypid) AS kind, rules.collisdeterministic AS is_exact,
           format_type(attribute.atttypid, attribute.atttypmod) AS type
    INTO asked
    FROM pg_attribute AS attribute
    LEFT JOIN pg_collation AS rules ON rules.oid = attribute.attcollation
    WHERE attribute.attrelid = relation
      AND attribute.attname = tenant_column
      AND attribute.attnum > 0
      AND NOT attribute.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_column',
            MESSAGE = format('table "%s" has no column "%s"', short_name, tenant_column),
            DETAIL = 'It would say whose row it is.',
            HINT = 'Name the column with tenant_column, or let it be added: add_column => true.';
    ELSIF asked.kind IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'datatype_mismatch',
            MESSAGE = format('column "%s" of table "%s" cannot be a tenant column', tenant_column, short_name),
            DETAIL = format('It is of type %s.', asked.type),
            HINT = 'A tenant column is of type uuid, bigint, integer or text, or a domain over one of them.';
    ELSIF NOT asked.is_exact THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = format('column "%s" of table "%s" cannot be a tenant column', tenant_column, short_name),
            DETAIL = 'Its collation takes different texts for equal, so tenants could see each other''s rows.',
            HINT = 'Give the column a deterministic collation.';
    END IF;
    RETURN asked.kind;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_kind(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_kind(regclass, name) IS
    'which function the tenant column is compared with; raises where it cannot be one';

CREATE OR REPLACE FUNCTION architect._tenant_column(relation regclass, tenant_column name)
    RETURNS name
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(tenant_column,
                    (SELECT registered.column_name FROM architect.tenant_registry AS registered
                     WHERE registered.relation = $1),
                    'tenant_id')
$function$;
REVOKE ALL ON FUNCTION architect._tenant_column(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_column(regclass, name) IS
    'the tenant column that is meant: as asked for, as registered, or tenant_id';

CREATE OR REPLACE FUNCTION architect._tenant_roles(roles name[])
    RETURNS name[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    missing name := (SELECT asked.role FROM unnest(roles) AS asked (role)
                     WHERE asked.role <> 'public'
                       AND NOT EXISTS (SELECT FROM pg_roles AS known WHERE known.rolname = asked.role)
                     LIMIT 1);
BEGIN
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = format('role "%s" does not exist', missing),
            HINT = 'Name roles that exist, or public for all.';
    ELSIF array_position(roles, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'a list of roles must not contain NULL',
            HINT = 'Name roles that exist, or public for all.';
    ELSIF coalesce(cardinality(roles), 0) = 0 OR 'public' = ANY (roles) THEN
        RETURN '{public}';
    END IF;
    RETURN (SELECT array_agg(DISTINCT asked.role ORDER BY asked.role) FROM unnest(roles) AS asked (role));
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_roles(name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_roles(name[]) IS
    'the roles that are meant, each once and sorted; raises for one that does not exist';

CREATE OR REPLACE FUNCTION architect._tenant_tree(target regclass)
    RETURNS SETOF regclass
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE tree AS (
        SELECT target::oid AS relid, 0 AS depth
        UNION ALL
        SELECT child.inhrelid, tree.depth + 1
        FROM tree
        JOIN pg_inherits AS child ON child.inhparent = tree.relid
    )
    SELECT tree.relid::regclass
    FROM tree
    JOIN pg_class AS class ON class.oid = tree.relid AND class.relkind IN ('r', 'p')
    GROUP BY tree.relid, class.relname
    ORDER BY max(tree.depth), class.relname COLLATE "C", tree.relid
$function$;
REVOKE ALL ON FUNCTION architect._tenant_tree(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_tree(regclass) IS
    'a table, its partitions and those that inherit from it, at every level';

CREATE OR REPLACE FUNCTION architect._tenant_one_policy(
        relation regclass, policy name, tenant_column name, kind text, roles name[])
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    lock text := format('ACCESS EXCLUSIVE on %s', relation);
    state text := architect.tenant_policy_state(relation, policy, tenant_column, kind, roles);
    expression text := format('(%I = architect.tenant_%s()) OR architect.tenant_crossing()', tenant_column, kind);
    floor boolean := policy = 'architect_tenant_floor';
BEGIN
    IF state = 'other' THEN
        IF NOT EXISTS (SELECT FROM architect.tenant_registry AS registered
                       WHERE registered.relation = _tenant_one_policy.relation) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'duplicate_object',
                MESSAGE = format('table %s has a policy "%s" already', relation, policy),
                DETAIL = 'It was not made by architect.tenant_enable.',
                HINT = 'Rename it, or drop it if it is not needed.';
        END IF;
        RETURN NEXT architect._tenant_step(
            relation, format('DROP POLICY %I ON %s', policy, relation),
            'it is not what is asked for', lock, NULL);
    END IF;
    IF state <> 'right' THEN
        RETURN NEXT architect._tenant_step(
            relation,
            format('CREATE POLICY %I ON %s AS %s FOR ALL TO %s USING (%s) WITH CHECK (%s)', policy, relation,
                   CASE WHEN floor THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END,
                   CASE WHEN 'public' = ANY (roles) THEN 'PUBLIC'
                        ELSE (SELECT string_agg(format('%I', asked.role), ', ') FROM unnest(roles) AS asked (role)) END,
                   expression, expression),
            CASE WHEN floor THEN 'no permissive policy that comes later can open the table'
                 ELSE 'rows of the tenant are seen and written, and no others' END,
            lock, format('DROP POLICY IF EXISTS %I ON %%1$s', policy));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_one_policy(regclass, name, name, text, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_one_policy(regclass, name, name, text, name[]) IS
    'the steps by which a table gets this policy; none where it has it';

CREATE OR REPLACE FUNCTION architect._tenant_policies(
        relation regclass, tenant_column name, kind text, roles name[])
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    lock text := format('ACCESS EXCLUSIVE on %s', relation);
    class record;
BEGIN
    SELECT found.relrowsecurity, found.relforcerowsecurity INTO class FROM pg_class AS found WHERE found.oid = relation;
    -- The policies first: by hand, one statement after the other, the table is never closed to all.
    RETURN QUERY SELECT * FROM architect._tenant_one_policy(relation, 'architect_tenant', tenant_column, kind, roles);
    RETURN QUERY SELECT * FROM architect._tenant_one_policy(relation, 'architect_tenant_floor',
                                                            tenant_column, kind, roles);
    IF NOT class.relrowsecurity THEN
        RETURN NEXT architect._tenant_step(
            relation, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation),
            'policies count from here on', lock, 'ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY');
    END IF;
    IF NOT class.relforcerowsecurity THEN
        RETURN NEXT architect._tenant_step(
            relation, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation),
            'policies count for the owner of the table too', lock, 'ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY');
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_policies(regclass, name, text, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_policies(regclass, name, text, name[]) IS
    'the steps that protect one table by policies';

CREATE OR REPLACE FUNCTION architect._tenant_leaves(target regclass, online boolean)
    RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(online, (SELECT sum(pg_relation_size(tree.relation)) FROM architect._tenant_tree(target)
                             AS tree (relation)) > 16 * 1024 * 1024)
$function$;
REVOKE ALL ON FUNCTION architect._tenant_leaves(regclass, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_leaves(regclass, boolean) IS
    'whether long steps are left to the caller: as he says, else for tables of more than 16 MB';

CREATE OR REPLACE FUNCTION architect._tenant_plan(
        target regclass, tenant_column name, roles name[], add_column boolean, column_type regtype, path name[],
        online boolean)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    chosen name := architect._tenant_column(target, tenant_column);
    allowed name[] := architect._tenant_roles(roles);
    leave boolean := architect._tenant_leaves(target, online);
    is_there boolean := EXISTS (SELECT FROM pg_attribute AS attribute
                                WHERE attribute.attrelid = target
                                  AND attribute.attname = chosen
                                  AND NOT attribute.attisdropped);
    is_nullable boolean := EXISTS (SELECT FROM pg_attribute AS attribute
                                   WHERE attribute.attrelid = target
                                     AND attribute.attname = chosen
                                     AND NOT attribute.attisdropped
                                     AND NOT attribute.attnotnull);
    kind text;
    member regclass;
BEGIN
    IF add_column THEN
        RETURN QUERY SELECT * FROM architect._tenant_fill(target, chosen, column_type, path, leave);
    END IF;
    IF add_column AND NOT is_there THEN
        kind := architect._tenant_kind_of(architect._tenant_new_type(target, chosen, column_type, path));
    ELSE
        kind := architect._tenant_kind(target, chosen);
    END IF;
    FOR member IN SELECT * FROM architect._tenant_tree(target) LOOP
        RETURN QUERY SELECT * FROM architect._tenant_policies(member, chosen, kind, allowed);
    END LOOP;

    -- What is asked of the columns of a table is asked of its partitions through it.
    FOR member IN
        SELECT tree.relation
        FROM architect._tenant_tree(target) AS tree (relation)
        JOIN pg_class AS class ON class.oid = tree.relation
        WHERE NOT class.relispartition OR tree.relation = target
    LOOP
        -- Children become NOT NULL with the table above them, and cease to be with it.
        RETURN QUERY SELECT * FROM architect._tenant_rules(
            member, chosen, coalesce(add_column, false) OR (is_nullable AND member <> target), leave);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_plan(
    regclass, name, name[], boolean, regtype, name[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_plan(regclass, name, name[], boolean, regtype, name[], boolean) IS
    'every step, in order, that it takes for a table and those below it to be protected';

CREATE OR REPLACE FUNCTION architect._tenant_steps(
        target regclass, tenant_column name, roles name[], add_column boolean, column_type regtype, path name[],
        online boolean)
    RETURNS TABLE (relation oid, statement text, why text, lock text, undo text, transactional boolean, inside text,
                   rule text, undo_template text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    SELECT plan.relation, plan.statement, plan.why, plan.lock,
           format(plan.undo, plan.relation, chosen.name),
           plan.transactional, plan.inside, plan.rule, plan.undo
    FROM (SELECT architect._tenant_column(target, tenant_column) AS name OFFSET 0) AS chosen
    CROSS JOIN architect._tenant_plan(target, tenant_column, roles, add_column, column_type, path, online) AS plan
$function$;
REVOKE ALL ON FUNCTION architect._tenant_steps(
    regclass, name, name[], boolean, regtype, name[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_steps(regclass, name, name[], boolean, regtype, name[], boolean) IS
    'the plan as enable.c reads it, with undo as it would be run now, too';
