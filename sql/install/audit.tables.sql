-- audit: what is made once.  The log itself is made by the first audit_enable:
-- it holds users' data, so it is an ordinary table and not part of the extension.

-- The server has btree for xid8 and no BRIN, which costs capture next to nothing.
CREATE OPERATOR CLASS architect.xid8_minmax_ops
    FOR TYPE xid8 USING brin AS
        OPERATOR 1 <,
        OPERATOR 2 <=,
        OPERATOR 3 =,
        OPERATOR 4 >=,
        OPERATOR 5 >,
        FUNCTION 1 brin_minmax_opcinfo(internal),
        FUNCTION 2 brin_minmax_add_value(internal, internal, internal, internal),
        FUNCTION 3 brin_minmax_consistent(internal, internal, internal),
        FUNCTION 4 brin_minmax_union(internal, internal, internal);
COMMENT ON OPERATOR CLASS architect.xid8_minmax_ops USING brin IS
    'lets a BRIN index tell where the rows of a transaction are';

CREATE TABLE architect.audit_tables (
    table_id integer GENERATED ALWAYS AS IDENTITY,
    relation regclass NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    removed_before timestamptz,
    CONSTRAINT audit_tables_pkey PRIMARY KEY (table_id),
    CONSTRAINT audit_tables_relation_key UNIQUE (relation)
);
GRANT SELECT ON architect.audit_tables TO PUBLIC;
COMMENT ON TABLE architect.audit_tables IS
'number under which each table that was ever audited stands in audit_log.table_id
SELECT * FROM architect.audit_tables;';
COMMENT ON COLUMN architect.audit_tables.registered_at IS 'when the table was first audited';
COMMENT ON COLUMN architect.audit_tables.removed_before IS
    'retention has removed log rows from before this time, so nothing is known of what was then';

-- Not for everybody to read, and kept when the table is dropped: its log rows are still there.
CREATE TABLE architect.audit_retention (
    table_id integer,
    keep interval,
    hold text,
    held_by text,
    held_at timestamptz,
    maintained_at timestamptz,
    swept_before timestamptz,
    CONSTRAINT audit_retention_pkey PRIMARY KEY (table_id),
    CONSTRAINT audit_retention_keep_check CHECK (keep > '0'),
    CONSTRAINT audit_retention_hold_check CHECK (num_nulls(hold, held_by, held_at) IN (0, 3))
);
COMMENT ON TABLE architect.audit_retention IS
'how long log rows of a table are kept, and what holds them; also of dropped tables
SELECT * FROM architect.audit_retention;';
COMMENT ON COLUMN architect.audit_retention.table_id IS 'as in architect.audit_tables, while the table is there';
COMMENT ON COLUMN architect.audit_retention.keep IS 'log rows go when they are older; NULL: never';
COMMENT ON COLUMN architect.audit_retention.hold IS 'why no log row may go, whatever keep says';
COMMENT ON COLUMN architect.audit_retention.maintained_at IS
    'last call of audit_maintain that looked for rows of the table';
COMMENT ON COLUMN architect.audit_retention.swept_before IS
    'audit_maintain has looked for rows to delete from before this time';

CREATE TYPE architect._audit_removal AS (
    table_id integer,
    table_schema text,
    table_name text,
    rows bigint,
    newest timestamptz,
    seals jsonb
);
COMMENT ON TYPE architect._audit_removal IS 'what retention removed of one table, and its last name in there';

SELECT pg_extension_config_dump('architect.audit_tables', '');
SELECT pg_extension_config_dump('architect.audit_tables_table_id_seq', '');
SELECT pg_extension_config_dump('architect.audit_retention', '');

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

CREATE TABLE architect.audit_shapes (
    shape_id bigint GENERATED ALWAYS AS IDENTITY,
    table_id integer NOT NULL,
    log_id bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    transaction_id xid8 NOT NULL,
    capture text,
    condition text,
    gap text,
    whole boolean NOT NULL,
    key text NOT NULL,
    columns jsonb NOT NULL,
    origin text NOT NULL,
    CONSTRAINT audit_shapes_pkey PRIMARY KEY (table_id, shape_id)
);
GRANT SELECT ON architect.audit_shapes TO PUBLIC;
COMMENT ON TABLE architect.audit_shapes IS
'columns of each audited table and how it was audited, from a number of the log on
SELECT * FROM architect.audit_shapes ORDER BY shape_id;';
COMMENT ON COLUMN architect.audit_shapes.log_id IS 'events of the log with a higher id came later';
COMMENT ON COLUMN architect.audit_shapes.gap IS 'why nothing is logged from here on; NULL when it is';
COMMENT ON COLUMN architect.audit_shapes.whole IS
    'the table was empty then, or its rows were logged: from here on the log has every row';
COMMENT ON COLUMN architect.audit_shapes.key IS
    'columns of the key in order, by number and type: record_id means another where this is another';
COMMENT ON COLUMN architect.audit_shapes.columns IS
    'number, name and type of each column, and hidden: exclude, mask or virtual';
COMMENT ON COLUMN architect.audit_shapes.origin IS 'the database that the column numbers belong to';

SELECT pg_extension_config_dump('architect.audit_shapes', '');
SELECT pg_extension_config_dump('architect.audit_shapes_shape_id_seq', '');

CREATE TABLE architect.audit_marks (
    name text NOT NULL,
    snapshot pg_snapshot NOT NULL,
    marked_at timestamptz NOT NULL,
    marked_by text NOT NULL,
    origin text NOT NULL,
    CONSTRAINT audit_marks_pkey PRIMARY KEY (name)
);
GRANT SELECT ON architect.audit_marks TO PUBLIC;
COMMENT ON TABLE architect.audit_marks IS
'moments that audit_as_of can go back to exactly
SELECT * FROM architect.audit_marks ORDER BY marked_at;';
COMMENT ON COLUMN architect.audit_marks.origin IS 'the database whose transactions the snapshot tells of';

SELECT pg_extension_config_dump('architect.audit_marks', '');

CREATE FUNCTION architect._audit_follow_changes()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_follow_changes';
REVOKE ALL ON FUNCTION architect._audit_follow_changes() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_follow_changes() IS
    'notes what a command does to the shape of an audited table, and gaps';

CREATE FUNCTION architect._audit_follow_drops()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_follow_drops';
REVOKE ALL ON FUNCTION architect._audit_follow_drops() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_follow_drops() IS
    'notes triggers and columns that an audited table has lost';

CREATE FUNCTION architect._audit_follow_rewrites()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_follow_rewrites';
REVOKE ALL ON FUNCTION architect._audit_follow_rewrites() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_follow_rewrites() IS
    'notes that an audited table is rewritten';

CREATE EVENT TRIGGER architect_audit_follow_changes
    ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER TRIGGER', 'ALTER TYPE', 'ALTER INDEX', 'CREATE TRIGGER',
                 -- The server lets these rename a column of a table, too.
                 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE')
    EXECUTE FUNCTION architect._audit_follow_changes();
CREATE EVENT TRIGGER architect_audit_follow_partition_drops
    ON ddl_command_start
    WHEN TAG IN ('DROP TABLE')
    EXECUTE FUNCTION architect._audit_follow_changes();
CREATE EVENT TRIGGER architect_audit_follow_drops
    ON sql_drop
    WHEN TAG IN ('DROP TRIGGER', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP TYPE', 'DROP DOMAIN',
                 'DROP FUNCTION', 'DROP COLLATION', 'DROP OPERATOR CLASS', 'DROP OPERATOR FAMILY')
    EXECUTE FUNCTION architect._audit_follow_drops();
CREATE EVENT TRIGGER architect_audit_follow_rewrites
    ON table_rewrite
    EXECUTE FUNCTION architect._audit_follow_rewrites();
ALTER EVENT TRIGGER architect_audit_follow_changes ENABLE ALWAYS;
ALTER EVENT TRIGGER architect_audit_follow_partition_drops ENABLE ALWAYS;
ALTER EVENT TRIGGER architect_audit_follow_drops ENABLE ALWAYS;
ALTER EVENT TRIGGER architect_audit_follow_rewrites ENABLE ALWAYS;
