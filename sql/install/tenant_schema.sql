-- tenant: whole schemas, and tables that are made later.

CREATE OR REPLACE FUNCTION architect.tenant_enable_schema(
        schema regnamespace,
        tenant_column name DEFAULT 'tenant_id',
        roles name[] DEFAULT '{public}',
        fix boolean DEFAULT false,
        online boolean DEFAULT NULL)
    RETURNS TABLE (relation regclass, result text, detail text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_enable_schema';
COMMENT ON FUNCTION architect.tenant_enable_schema(regnamespace, name, name[], boolean, boolean) IS
'protect every table of a schema that has the tenant column, and list those that have not; for the schema''s owner
SELECT * FROM architect.tenant_enable_schema(''public'');';

CREATE OR REPLACE FUNCTION architect.tenant_disable_schema(schema regnamespace)
    RETURNS TABLE (relation regclass, result text, detail text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_disable_schema';
COMMENT ON FUNCTION architect.tenant_disable_schema(regnamespace) IS
'take back what was done to the tables of a schema, and let new ones be; for the schema''s owner
SELECT * FROM architect.tenant_disable_schema(''public'');';

CREATE OR REPLACE FUNCTION architect._tenant_note_schema(
        schema regnamespace, caller oid, tenant_column name, roles name[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    namespace pg_namespace%ROWTYPE;
BEGIN
    SELECT * INTO namespace FROM pg_namespace AS known WHERE known.oid = schema;
    IF namespace.oid IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_schema_name',
            MESSAGE = format('schema with OID %s does not exist', schema::oid),
            HINT = 'Name the schema, as in ''public''.';
    ELSIF namespace.nspname ~ '^pg_' OR namespace.nspname IN ('information_schema', 'architect') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'wrong_object_type',
            MESSAGE = format('cannot protect schema "%s"', namespace.nspname),
            DETAIL = 'It belongs to the server or to pg_architect itself.',
            HINT = 'Name a schema of your own.';
    ELSIF NOT pg_has_role(caller, namespace.nspowner, 'USAGE') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('must be owner of schema %s', namespace.nspname),
            HINT = 'Call architect.tenant_enable for tables that you own.';
    ELSIF tenant_column IS NULL THEN
        DELETE FROM architect.tenant_schemas AS known WHERE known.schema_name = namespace.nspname;
    ELSE
        INSERT INTO architect.tenant_schemas AS known (schema_name, column_name, roles)
        VALUES (namespace.nspname, tenant_column, architect._tenant_roles(roles))
        ON CONFLICT (schema_name) DO UPDATE
        SET column_name = excluded.column_name,
            roles = excluded.roles
        WHERE (known.column_name, known.roles) <> (excluded.column_name, excluded.roles);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_note_schema(regnamespace, oid, name, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_note_schema(regnamespace, oid, name, name[]) IS
    'remembers an enabled schema, or forgets it where there is no column; raises unless the caller owns it';

CREATE OR REPLACE FUNCTION architect._tenant_not_owned(target regclass, caller oid)
    RETURNS regclass
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT tree.relation
    FROM architect._tenant_tree(target) AS tree (relation)
    JOIN pg_class AS member ON member.oid = tree.relation
    WHERE NOT pg_has_role(caller, member.relowner, 'USAGE')
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION architect._tenant_not_owned(regclass, oid) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_not_owned(regclass, oid) IS
    'the table, or one below it, that the caller does not own; NULL: none';

CREATE OR REPLACE FUNCTION architect._tenant_schema(schema regnamespace, caller oid, tenant_column name)
    RETURNS TABLE (relation oid, result text, detail text)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT class.oid,
           CASE WHEN attribute.attname IS NULL THEN 'no column'
                WHEN class.relkind = 'f' THEN 'not protected'
                WHEN class.relkind = 'm' THEN 'not protected'
                WHEN architect._tenant_kind_of(attribute.atttypid) IS NULL THEN 'not protected'
                WHEN other.relation IS NOT NULL THEN 'not yours'
           END,
           CASE WHEN attribute.attname IS NULL THEN format('it has no column "%s"', tenant_column)
                WHEN class.relkind = 'f' THEN 'a foreign table cannot have row-level security'
                WHEN class.relkind = 'm' THEN 'a materialized view cannot have row-level security'
                WHEN architect._tenant_kind_of(attribute.atttypid) IS NULL
                    THEN format('column "%s" is of type %s', tenant_column, format_type(attribute.atttypid, NULL))
                WHEN other.relation IS NOT NULL THEN format('%s belongs to another role', other.relation)
           END
    FROM pg_class AS class
    LEFT JOIN pg_attribute AS attribute
      ON attribute.attrelid = class.oid
     AND attribute.attname = tenant_column
     AND attribute.attnum > 0
     AND NOT attribute.attisdropped
    CROSS JOIN architect._tenant_not_owned(class.oid, caller) AS other (relation)
    WHERE class.relnamespace = schema
      AND class.relkind IN ('r', 'p', 'f', 'm')
      AND (class.relkind <> 'm' OR attribute.attname IS NOT NULL)
      -- Those below another table come along with it.
      AND NOT EXISTS (SELECT FROM pg_inherits AS above
                      JOIN pg_attribute AS same ON same.attrelid = above.inhparent AND same.attname = tenant_column
                      WHERE above.inhrelid = class.oid)
      AND NOT EXISTS (SELECT FROM pg_depend AS member
                      WHERE member.classid = 'pg_class'::regclass
                        AND member.objid = class.oid
                        AND member.deptype = 'e')
    ORDER BY class.relname COLLATE "C"
$function$;
REVOKE ALL ON FUNCTION architect._tenant_schema(regnamespace, oid, name) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_schema(regnamespace, oid, name) IS
    'the tables of a schema, with why one cannot be protected by the caller; NULL: it can';

CREATE OR REPLACE FUNCTION architect._tenant_schema_protected(schema regnamespace, caller oid)
    RETURNS TABLE (relation oid, result text, detail text)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT class.oid,
           CASE WHEN other.relation IS NOT NULL THEN 'not yours'
                WHEN parent.relation IS NOT NULL THEN 'still protected'
           END,
           CASE WHEN other.relation IS NOT NULL THEN format('%s belongs to another role', other.relation)
                WHEN parent.relation IS NOT NULL THEN format('it is a part of %s', parent.relation)
           END
    FROM architect.tenant_registry AS registered
    JOIN pg_class AS class ON class.oid = registered.relation AND class.relnamespace = schema
    CROSS JOIN architect._tenant_not_owned(class.oid, caller) AS other (relation)
    LEFT JOIN LATERAL (
        SELECT above.relation, parent_class.relnamespace
        FROM pg_inherits AS link
        JOIN architect.tenant_registry AS above ON above.relation = link.inhparent
        JOIN pg_class AS parent_class ON parent_class.oid = link.inhparent
        WHERE link.inhrelid = class.oid
        LIMIT 1) AS parent ON true
    WHERE parent.relnamespace IS DISTINCT FROM schema
    ORDER BY class.relname COLLATE "C"
$function$;
REVOKE ALL ON FUNCTION architect._tenant_schema_protected(regnamespace, oid) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_schema_protected(regnamespace, oid) IS
    'the protected tables of a schema, with why the caller cannot end that; NULL: he can';

CREATE OR REPLACE FUNCTION architect._tenant_unprotected(protect_new boolean, moved boolean, added text[])
    RETURNS TABLE (relation oid, column_name name, roles name[], kind "char", new_in name)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH made AS (
        SELECT DISTINCT command.objid, command.in_extension, command.command_tag LIKE 'ALTER%' AS altered
        FROM pg_event_trigger_ddl_commands() AS command
        WHERE command.classid = 'pg_class'::regclass
    ), needed AS (
        -- What is below a protected table; the others below it come along.  Roles may have new names.
        SELECT child.oid, parent.column_name,
               coalesce((SELECT array_agg(coalesce(role.rolname, 'public'))
                         FROM pg_policy AS policy
                         CROSS JOIN LATERAL unnest(policy.polroles) AS member (oid)
                         LEFT JOIN pg_roles AS role ON role.oid = member.oid
                         WHERE policy.polrelid = parent.relation AND policy.polname = 'architect_tenant_floor'),
                        parent.roles) AS roles,
               child.relkind, NULL::name AS new_in
        FROM made
        JOIN pg_inherits AS link ON made.objid IN (link.inhrelid, link.inhparent)
        JOIN architect.tenant_registry AS parent ON parent.relation = link.inhparent
        JOIN pg_class AS child ON child.oid = link.inhrelid AND child.relkind IN ('r', 'p', 'f')
        UNION ALL
        SELECT class.oid, schema.column_name, schema.roles, class.relkind, schema.schema_name
        FROM made
        JOIN pg_class AS class ON class.oid = made.objid AND class.relkind IN ('r', 'p')
                              AND class.relpersistence <> 't'
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        JOIN architect.tenant_schemas AS schema ON schema.schema_name = namespace.nspname
        JOIN pg_attribute AS attribute
          ON attribute.attrelid = class.oid
         AND attribute.attname = schema.column_name
         AND NOT attribute.attisdropped
         AND architect._tenant_kind_of(attribute.atttypid) IS NOT NULL
        WHERE protect_new
          AND NOT made.in_extension
          AND NOT class.relispartition
          AND (NOT made.altered OR moved OR schema.column_name = ANY (added::name[]))
    )
    SELECT DISTINCT ON (needed.oid) needed.oid, needed.column_name, needed.roles, needed.relkind, needed.new_in
    FROM needed
    WHERE NOT EXISTS (SELECT FROM architect.tenant_registry AS registered
                      WHERE registered.relation = needed.oid)
    ORDER BY needed.oid, needed.new_in NULLS FIRST
$function$;
REVOKE ALL ON FUNCTION architect._tenant_unprotected(boolean, boolean, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_unprotected(boolean, boolean, text[]) IS
    'tables that the present command made or altered so that they have to be protected, and how';

CREATE OR REPLACE FUNCTION architect._tenant_rename_schema(former text, present text)
    RETURNS integer
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH renamed AS (
        UPDATE architect.tenant_schemas AS known
        SET schema_name = present
        WHERE known.schema_name = former
        RETURNING known.schema_name
    )
    SELECT count(*)::integer FROM renamed
$function$;
REVOKE ALL ON FUNCTION architect._tenant_rename_schema(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_rename_schema(text, text) IS
    'remembers an enabled schema under its new name';

CREATE OR REPLACE FUNCTION architect._tenant_rename_column(former text, present text)
    RETURNS integer
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE command AS (
        SELECT command.objid AS object FROM pg_event_trigger_ddl_commands() AS command
    ), altered AS (
        SELECT command.object AS relation FROM command
        UNION
        SELECT typed.oid
        FROM command
        JOIN pg_type AS type ON command.object IN (type.oid, type.typrelid)
        JOIN pg_class AS typed ON typed.reloftype = type.oid
        UNION
        SELECT child.inhrelid
        FROM altered
        JOIN pg_inherits AS child ON child.inhparent = altered.relation
    ), renamed AS (
        UPDATE architect.tenant_registry AS registered
        SET column_name = present
        WHERE registered.column_name = former
          AND registered.relation::oid IN (SELECT altered.relation FROM altered)
          AND EXISTS (SELECT FROM pg_attribute AS attribute
                      WHERE attribute.attrelid = registered.relation
                        AND attribute.attname = present
                        AND NOT attribute.attisdropped)
          AND NOT EXISTS (SELECT FROM pg_attribute AS attribute
                          WHERE attribute.attrelid = registered.relation
                            AND attribute.attname = former
                            AND NOT attribute.attisdropped)
        RETURNING architect._tenant_invalidate(registered.relation)
    )
    SELECT count(*)::integer FROM renamed
$function$;
REVOKE ALL ON FUNCTION architect._tenant_rename_column(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_rename_column(text, text) IS
    'enters the new name of a tenant column in the register, for the tables of this command';

CREATE OR REPLACE FUNCTION architect._tenant_forget()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    DELETE FROM architect.tenant_registry AS registered
    USING pg_event_trigger_dropped_objects() AS dropped
    WHERE dropped.classid = 'pg_class'::regclass
      AND dropped.objsubid = 0
      AND dropped.objid = registered.relation;
    DELETE FROM architect.tenant_schemas AS known
    USING pg_event_trigger_dropped_objects() AS dropped
    WHERE dropped.classid = 'pg_namespace'::regclass
      AND dropped.object_name = known.schema_name;
    RETURN 0;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_forget() FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_forget() IS
    'takes tables and schemas that are being dropped from the registers';
