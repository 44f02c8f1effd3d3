-- tenant: what the register says stays true.

CREATE OR REPLACE FUNCTION architect._tenant_follow_column(old_name name, new_name name)
    RETURNS integer
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE command AS (
        SELECT command.objid AS object FROM pg_event_trigger_ddl_commands() AS command
    ), renamed AS (
        SELECT command.object AS relation FROM command
        UNION
        SELECT typed.oid
        FROM command
        JOIN pg_type AS type ON command.object IN (type.oid, type.typrelid)
        JOIN pg_class AS typed ON typed.reloftype = type.oid
        UNION
        SELECT child.inhrelid
        FROM renamed
        JOIN pg_inherits AS child ON child.inhparent = renamed.relation
    ), followed AS (
        UPDATE architect.tenant_registry AS registered
        SET column_name = new_name
        WHERE registered.column_name = old_name
          AND registered.relation::oid IN (SELECT renamed.relation FROM renamed)
          AND EXISTS (SELECT FROM pg_attribute AS attribute
                      WHERE attribute.attrelid = registered.relation
                        AND attribute.attname = new_name
                        AND NOT attribute.attisdropped)
          AND NOT EXISTS (SELECT FROM pg_attribute AS attribute
                          WHERE attribute.attrelid = registered.relation
                            AND attribute.attname = old_name
                            AND NOT attribute.attisdropped)
        RETURNING architect._tenant_invalidate(registered.relation)
    )
    SELECT count(*)::integer FROM followed
$function$;
REVOKE ALL ON FUNCTION architect._tenant_follow_column(name, name) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_follow_column(name, name) IS
    'enters the new name of a tenant column in the register, for the tables of this command';
