-- core: what the extension says of itself.
--
-- The first line of an object's comment is what it gives; the second, where
-- there is one, is a call to copy.  architect.help shows both.

CREATE OR REPLACE FUNCTION architect.version()
    RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_version';
COMMENT ON FUNCTION architect.version() IS
'version of the loaded library; warns when the installed SQL is of another version
SELECT architect.version();';

CREATE OR REPLACE VIEW architect.help AS
    WITH object AS (
        SELECT proc.proname AS name,
               CASE proc.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
               obj_description(proc.oid, 'pg_proc') AS comment,
               pg_get_function_arguments(proc.oid) AS arguments
        FROM pg_proc AS proc
        WHERE proc.pronamespace = 'architect'::regnamespace
          AND proc.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        UNION ALL
        SELECT class.relname,
               CASE class.relkind WHEN 'v' THEN 'view' ELSE 'table' END,
               obj_description(class.oid, 'pg_class'),
               NULL
        FROM pg_class AS class
        WHERE class.relnamespace = 'architect'::regnamespace
          AND class.relkind IN ('v', 'r', 'p')
          AND NOT class.relispartition
    )
    SELECT CASE WHEN object.name LIKE '%\_%' AND object.name <> 'uninstall_plan' OR object.name = 'backfill'
                THEN split_part(object.name, '_', 1)
                ELSE 'core'
           END COLLATE "C" AS part,
           object.name::text COLLATE "C" AS name,
           object.kind COLLATE "C" AS kind,
           split_part(object.comment, E'\n', 1) AS summary,
           nullif(split_part(object.comment, E'\n', 2), '') AS call,
           object.arguments
    FROM object
    WHERE object.name NOT LIKE '\_%'
    ORDER BY part, kind, name;
GRANT SELECT ON architect.help TO PUBLIC;
COMMENT ON VIEW architect.help IS
'every public function, procedure, view and table of pg_architect, with a call to copy
SELECT part, name, summary, call FROM architect.help;';

CREATE OR REPLACE FUNCTION architect.uninstall_plan()
    RETURNS TABLE (step integer, statement text, why text, lock text, undo text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH caller AS (
        SELECT used.classid, used.objid
        FROM pg_depend AS used
        JOIN pg_proc AS proc ON used.refclassid = 'pg_proc'::regclass AND proc.oid = used.refobjid
        WHERE proc.pronamespace = 'architect'::regnamespace
    ), planned AS (
        -- With the tables below it; their policies call functions of the extension.
        SELECT 0 AS phase,
               format('SELECT architect.tenant_disable(%L);', registered.relation::text) AS statement,
               format('%s is protected by policies that call functions of the extension', registered.relation) AS why,
               format('ACCESS EXCLUSIVE on %s', registered.relation) AS lock,
               format('SELECT architect.tenant_enable(%L, %L, %L);',
                      registered.relation::text, registered.column_name, registered.roles) AS undo
        FROM architect.tenant_registry AS registered
        JOIN pg_class AS class ON class.oid = registered.relation
        WHERE NOT EXISTS (SELECT FROM pg_inherits AS child
                          JOIN architect.tenant_registry AS parent ON parent.relation = child.inhparent
                          WHERE child.inhrelid = registered.relation)
        UNION ALL
        SELECT 1,
               format('DROP POLICY %I ON %s;', policy.polname, policy.polrelid::regclass),
               format('%s calls a function of the extension', policy.polname),
               format('ACCESS EXCLUSIVE on %s', policy.polrelid::regclass),
               'none: it has to be written again'
        FROM pg_policy AS policy
        JOIN pg_class AS class ON class.oid = policy.polrelid AND class.relnamespace <> 'architect'::regnamespace
        WHERE NOT EXISTS (SELECT FROM architect.tenant_registry AS registered
                          WHERE registered.relation = policy.polrelid
                            AND policy.polname IN ('architect_tenant', 'architect_tenant_floor'))
          AND ('pg_policy'::regclass, policy.oid) IN (SELECT caller.classid, caller.objid FROM caller)
        UNION ALL
        SELECT 1,
               format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT;', attribute.attrelid::regclass, attribute.attname),
               'it calls a function of the extension',
               format('ACCESS EXCLUSIVE on %s', attribute.attrelid::regclass),
               format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s;', attribute.attrelid::regclass,
                      attribute.attname, pg_get_expr(value.adbin, value.adrelid))
        FROM pg_attrdef AS value
        JOIN pg_attribute AS attribute ON attribute.attrelid = value.adrelid AND attribute.attnum = value.adnum
        JOIN pg_class AS class ON class.oid = value.adrelid AND class.relnamespace <> 'architect'::regnamespace
        WHERE ('pg_attrdef'::regclass, value.oid) IN (SELECT caller.classid, caller.objid FROM caller)
        UNION ALL
        SELECT 1,
               format('DROP TRIGGER %I ON %s;', trigger.tgname, trigger.tgrelid::regclass),
               format('%s runs a function of the extension', trigger.tgrelid::regclass),
               format('ACCESS EXCLUSIVE on %s', trigger.tgrelid::regclass),
               pg_get_triggerdef(trigger.oid) || ';'
        FROM pg_trigger AS trigger
        JOIN pg_proc AS proc ON proc.oid = trigger.tgfoid
        WHERE proc.pronamespace = 'architect'::regnamespace
          AND trigger.tgparentid = 0
        UNION ALL
        SELECT 2,
               format('DROP %s %s;',
                      CASE class.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                         WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                      class.oid::regclass),
               format('holds your data (%s); keep a copy if you need it', pg_size_pretty(
                   (SELECT coalesce(sum(pg_total_relation_size(tree.relid)), pg_total_relation_size(class.oid))
                    FROM pg_partition_tree(class.oid) AS tree))),
               format('ACCESS EXCLUSIVE on %s', class.oid::regclass),
               'none: restore it from a backup'
        FROM pg_class AS class
        WHERE class.relnamespace = 'architect'::regnamespace
          AND class.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND NOT class.relispartition
          AND NOT EXISTS (SELECT FROM pg_depend AS owned
                          WHERE owned.classid = 'pg_class'::regclass
                            AND owned.objid = class.oid
                            AND owned.refobjid <> class.oid
                            AND owned.deptype IN ('e', 'a', 'i'))
        UNION ALL
        SELECT 3, 'DROP EXTENSION pg_architect;', 'nothing of yours depends on it any more',
               'ACCESS EXCLUSIVE on the objects of the extension', 'CREATE EXTENSION pg_architect;'
    )
    SELECT row_number() OVER (ORDER BY planned.phase, planned.statement COLLATE "C")::integer,
           planned.statement, planned.why, planned.lock, planned.undo
    FROM planned
    ORDER BY 1
$function$;
COMMENT ON FUNCTION architect.uninstall_plan() IS
'statements, in order, that remove pg_architect and what it made from this database
SELECT * FROM architect.uninstall_plan();';
