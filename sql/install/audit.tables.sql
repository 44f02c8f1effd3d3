-- audit: what is made once.  The log itself is made by the first audit_enable:
-- it holds users' data, so it is an ordinary table and not part of the extension.

CREATE TABLE architect.audit_tables (
    table_id integer GENERATED ALWAYS AS IDENTITY,
    relation regclass NOT NULL,
    CONSTRAINT audit_tables_pkey PRIMARY KEY (table_id),
    CONSTRAINT audit_tables_relation_key UNIQUE (relation)
);
GRANT SELECT ON architect.audit_tables TO PUBLIC;
COMMENT ON TABLE architect.audit_tables IS
'number under which each table that was ever audited stands in audit_log.table_id
SELECT * FROM architect.audit_tables;';

SELECT pg_extension_config_dump('architect.audit_tables', '');
SELECT pg_extension_config_dump('architect.audit_tables_table_id_seq', '');

CREATE FUNCTION architect._audit_follow_partitions()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_follow_partitions';
REVOKE ALL ON FUNCTION architect._audit_follow_partitions() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_follow_partitions() IS
    'gives a new partition of an audited table its TRUNCATE trigger';

CREATE EVENT TRIGGER architect_audit_follow_partitions
    ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')
    EXECUTE FUNCTION architect._audit_follow_partitions();

CREATE FUNCTION architect._audit_forget_tables()
    RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    DELETE FROM architect.audit_tables AS registered
    USING pg_event_trigger_dropped_objects() AS dropped
    WHERE dropped.classid = 'pg_class'::regclass
      AND dropped.objsubid = 0
      AND registered.relation::oid = dropped.objid;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_forget_tables() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_forget_tables() IS
    'removes dropped tables from the register, so that nobody inherits their log';

CREATE EVENT TRIGGER architect_audit_forget_tables
    ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP TYPE',
                 'DROP ACCESS METHOD', 'DROP OPERATOR CLASS', 'DROP OPERATOR FAMILY', 'DROP FUNCTION')
    EXECUTE FUNCTION architect._audit_forget_tables();

-- In a session that replays changes too.
ALTER EVENT TRIGGER architect_audit_follow_partitions ENABLE ALWAYS;
ALTER EVENT TRIGGER architect_audit_forget_tables ENABLE ALWAYS;
