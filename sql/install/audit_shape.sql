-- audit: the shapes of audited tables, and gaps in their log.

CREATE OR REPLACE FUNCTION architect._audit_number_all()
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_number_all';
REVOKE ALL ON FUNCTION architect._audit_number_all() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_number_all() IS
    'stores the events that are pending in this session';

CREATE OR REPLACE FUNCTION architect._audit_last_number()
    RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT architect._audit_number_all();
    SELECT CASE WHEN sequence.is_called THEN sequence.last_value ELSE sequence.last_value - 1 END
    FROM architect.audit_log_id_seq AS sequence
$function$;
REVOKE ALL ON FUNCTION architect._audit_last_number() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_last_number() IS
    'the id of the last event so far';

CREATE OR REPLACE FUNCTION architect._audit_masked(target regclass, mask text[])
    RETURNS text[]
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_masked';
COMMENT ON FUNCTION architect._audit_masked(regclass, text[]) IS
    'masked columns with those generated from them';
REVOKE ALL ON FUNCTION architect._audit_masked(regclass, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION architect._audit_key(target regclass, columns text[])
    RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_key';
REVOKE ALL ON FUNCTION architect._audit_key(regclass, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_key(regclass, text[]) IS
    'number and type of each column of the key that the log names rows by';

CREATE OR REPLACE VIEW architect.audit_columns AS
    WITH origin AS (
        SELECT format('%s/%s', control.system_identifier, db.oid) AS present
        FROM pg_control_system() AS control
        JOIN pg_database AS db ON db.datname = current_database()
    ), listed AS (
        SELECT shape.shape_id, shape.table_id, shape.log_id, shape.origin, item.*,
               -- In a copy, columns are numbered anew and have the names that they had last.
               CASE WHEN shape.origin = origin.present THEN item.number
                    ELSE (SELECT coalesce(
                              (SELECT next_item.number
                               FROM architect.audit_shapes AS next
                               CROSS JOIN LATERAL jsonb_to_recordset(next.columns)
                                   AS next_item (number smallint, name text)
                               WHERE next.table_id = shape.table_id
                                 AND next.shape_id > last.shape_id
                                 AND next.origin = origin.present
                                 AND next_item.name = last_item.name
                               ORDER BY next.shape_id
                               LIMIT 1),
                              (SELECT attribute.attnum
                               FROM pg_attribute AS attribute
                               WHERE attribute.attrelid = registered.relation
                                 AND attribute.attname = last_item.name
                                 AND NOT attribute.attisdropped
                                 AND NOT EXISTS (SELECT FROM architect.audit_shapes AS next
                                                 WHERE next.table_id = shape.table_id
                                                   AND next.origin = origin.present)))
                          FROM architect.audit_shapes AS last
                          CROSS JOIN LATERAL jsonb_to_recordset(last.columns) AS last_item (number smallint, name text)
                          WHERE last.table_id = shape.table_id
                            AND last.origin = shape.origin
                            AND last_item.number = item.number
                          ORDER BY last.shape_id DESC
                          LIMIT 1)
               END AS present_number,
               registered.relation
        FROM architect.audit_shapes AS shape
        CROSS JOIN origin
        LEFT JOIN architect.audit_tables AS registered ON registered.table_id = shape.table_id
        CROSS JOIN LATERAL jsonb_to_recordset(shape.columns)
            AS item (number smallint, name text, type text, hidden text)
    )
    SELECT listed.shape_id,
           listed.table_id,
           listed.log_id,
           listed.number,
           listed.name,
           listed.type,
           listed.hidden,
           attribute.attname::text AS present_name
    FROM listed
    LEFT JOIN pg_attribute AS attribute
      ON attribute.attrelid = listed.relation
     AND attribute.attnum = listed.present_number
     AND NOT attribute.attisdropped;
GRANT SELECT ON architect.audit_columns TO PUBLIC;
COMMENT ON VIEW architect.audit_columns IS
'columns of each audited table from a number of the log on, and what they are called now
SELECT * FROM architect.audit_columns ORDER BY shape_id, number;';

CREATE OR REPLACE FUNCTION architect._audit_shape(target regclass)
    RETURNS TABLE (capture text, condition text, gap text, key text, columns jsonb)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    SELECT options.capture,
           substring(pg_get_triggerdef(trigger.oid) FROM ' WHEN \((.*)\) EXECUTE FUNCTION architect\.audit_capture\('),
           CASE WHEN trigger.oid IS NULL THEN 'the table is not audited'
                ELSE (SELECT format('trigger %I of %s is disabled', member.tgname, member.tgrelid::regclass)
                      FROM pg_trigger AS member
                      WHERE member.tgrelid IN (SELECT trigger.tgrelid
                                               UNION
                                               SELECT part.relid::oid FROM pg_partition_tree(trigger.tgrelid) AS part)
                        AND member.tgname IN ('architect_audit', 'architect_audit_delete', 'architect_audit_truncate')
                        AND member.tgenabled IN ('D', 'R')
                      ORDER BY member.tgrelid::regclass::text, member.tgname
                      LIMIT 1)
           END,
           architect._audit_key(target, coalesce(options.key, '{}')),
           (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                       'number', attribute.attnum,
                       'name', attribute.attname,
                       'type', format_type(attribute.atttypid, attribute.atttypmod),
                       'hidden', CASE WHEN attribute.attgenerated = 'v' THEN 'virtual'
                                      WHEN attribute.attname = ANY (options.exclude) THEN 'exclude'
                                      WHEN attribute.attname = ANY (architect._audit_masked(target, options.mask))
                                          THEN 'mask'
                                 END)) ORDER BY attribute.attnum), '[]')
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = target
              AND attribute.attnum > 0
              AND NOT attribute.attisdropped)
    FROM (SELECT target AS relation) AS asked
    LEFT JOIN pg_trigger AS trigger
      ON trigger.tgrelid = asked.relation
     AND trigger.tgname = 'architect_audit'
     AND trigger.tgfoid = 'architect.audit_capture'::regproc
     AND trigger.tgparentid = 0
    LEFT JOIN LATERAL architect.audit_options(trigger.oid) AS options ON true
$function$;
REVOKE ALL ON FUNCTION architect._audit_shape(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_shape(regclass) IS
    'the present shape of a table, in the columns of audit_shapes';

CREATE OR REPLACE FUNCTION architect._audit_note_meddling(noted_id integer, kind text, detail text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM architect._audit_note(noted_id, 'GAP', NULL, jsonb_build_object('gap', kind, 'detail', detail));
EXCEPTION
    WHEN undefined_table OR object_not_in_prerequisite_state THEN
        -- Triggers must be removable while the log is broken; the shape tells of the gap all the same.
        NULL;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_meddling(integer, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_meddling(integer, text, text) IS
    'adds to the log, if it can be written, that the triggers of a table were meddled with';

CREATE OR REPLACE FUNCTION architect._audit_note_shape(target regclass, enabled boolean, empty boolean)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    registered_id integer := (SELECT registered.table_id FROM architect.audit_tables AS registered
                              WHERE registered.relation = target);
    former architect.audit_shapes%ROWTYPE;
    present record;
BEGIN
    SELECT * INTO former
    FROM architect.audit_shapes AS shape
    WHERE shape.table_id = registered_id
    ORDER BY shape.shape_id DESC
    LIMIT 1;
    SELECT * INTO present FROM architect._audit_shape(target);

    -- While a dump is restored, numbers are not what they will be, and triggers come last.
    IF NOT enabled
       AND (former.table_id IS NULL
            OR former.origin <> architect._audit_origin()
           AND (present.gap = 'the table is not audited'
                OR former.log_id > (SELECT sequence.last_value FROM architect.audit_log_id_seq AS sequence))) THEN
        RETURN 0;
    END IF;
    IF registered_id IS NULL
       OR (former.table_id IS NULL AND present.gap = 'the table is not audited')
       OR (former.capture, former.condition, former.gap, former.key, former.columns, former.origin)
          IS NOT DISTINCT FROM
          (present.capture, present.condition, present.gap, present.key, present.columns,
           architect._audit_origin()) THEN
        RETURN 0;
    END IF;

    INSERT INTO architect.audit_shapes (table_id, log_id, changed_at, transaction_id,
                                        capture, condition, gap, whole, key, columns, origin)
    VALUES (registered_id, architect._audit_last_number(), clock_timestamp(), pg_current_xact_id(),
            present.capture, present.condition, present.gap, enabled AND empty AND present.gap IS NULL,
            present.key, present.columns, architect._audit_origin());

    -- A trigger that was meddled with leaves a trace in the log itself.
    IF former.table_id IS NOT NULL AND former.gap IS DISTINCT FROM present.gap
       AND coalesce(former.gap, present.gap) LIKE 'trigger %' THEN
        PERFORM architect._audit_note_meddling(registered_id,
                                               CASE WHEN present.gap IS NULL THEN 'enabled' ELSE 'disabled' END,
                                               coalesce(present.gap, former.gap));
    END IF;
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_shape(regclass, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_shape(regclass, boolean, boolean) IS
    'adds the present shape of a registered table to audit_shapes, if it is another than before';

CREATE OR REPLACE FUNCTION architect._audit_note_shapes()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    altered regclass;
BEGIN
    FOR altered IN
        SELECT registered.relation
        FROM pg_event_trigger_ddl_commands() AS command
        JOIN architect.audit_tables AS registered
          ON registered.relation = command.objid
          OR registered.relation = pg_partition_root(command.objid)
        WHERE command.classid = 'pg_class'::regclass
        UNION
        SELECT registered.relation
        FROM pg_event_trigger_ddl_commands() AS command
        JOIN pg_trigger AS trigger ON command.classid = 'pg_trigger'::regclass AND trigger.oid = command.objid
        JOIN architect.audit_tables AS registered
          ON registered.relation = trigger.tgrelid
          OR registered.relation = pg_partition_root(trigger.tgrelid)
        UNION
        SELECT registered.relation
        FROM pg_event_trigger_ddl_commands() AS command
        JOIN architect.audit_tables AS registered ON command.command_tag = 'ALTER TYPE'
        JOIN pg_class AS class ON class.oid = registered.relation AND class.reloftype <> 0
        UNION
        SELECT registered.relation
        FROM pg_event_trigger_ddl_commands() AS command
        JOIN pg_index AS index ON command.command_tag = 'ALTER INDEX' AND index.indexrelid = command.objid
        JOIN architect.audit_tables AS registered ON registered.relation = index.indrelid
    LOOP
        PERFORM architect._audit_note_shape(altered, false, false);
    END LOOP;
    RETURN 0;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_shapes() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_shapes() IS
    'notes the shapes of the tables that the present command altered';

CREATE OR REPLACE FUNCTION architect._audit_note_drops()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    registered record;
BEGIN
    -- A trigger or a column can go along with something else; of a trigger the table is not told.
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS dropped
               WHERE dropped.object_type = 'trigger' AND dropped.address_names::text LIKE '%architect_audit%'
                  OR dropped.classid = 'pg_class'::regclass AND dropped.objsubid > 0) THEN
        FOR registered IN
            SELECT listed.table_id, listed.relation
            FROM architect.audit_tables AS listed
            JOIN pg_class AS class ON class.oid = listed.relation
        LOOP
            IF architect._audit_note_shape(registered.relation, false, false) = 1
               AND NOT EXISTS (SELECT FROM pg_trigger AS trigger
                               WHERE trigger.tgrelid = registered.relation
                                 AND trigger.tgname = 'architect_audit') THEN
                PERFORM architect._audit_note_meddling(registered.table_id, 'disabled', 'the triggers were dropped');
            END IF;
        END LOOP;
    END IF;

    -- Partitions that went along with a schema or a role, but not with their root: nobody says
    -- of which table they were.
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS dropped
               JOIN pg_event_trigger_dropped_objects() AS dropped_table
                 ON dropped_table.object_type = 'table'
                AND dropped.address_names[1:array_length(dropped.address_names, 1) - 1] = dropped_table.address_names
               WHERE dropped.object_type = 'trigger'
                 AND dropped.object_identity LIKE '%architect_audit%'
                 AND NOT EXISTS (SELECT FROM architect.audit_tables AS listed
                                 WHERE listed.relation = dropped_table.objid))
       AND NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS dropped
                       JOIN architect.audit_tables AS listed ON listed.relation = dropped.objid
                       WHERE dropped.classid = 'pg_class'::regclass) THEN
        PERFORM architect._audit_note_meddling(listed.table_id, 'partition',
                                               'partitions were dropped with what they belonged to')
        FROM architect.audit_tables AS listed
        JOIN pg_class AS class ON class.oid = listed.relation AND class.relkind = 'p';
    END IF;
    RETURN 0;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_drops() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_drops() IS
    'notes the shapes of tables that the present command has taken a trigger or a column from';

CREATE OR REPLACE FUNCTION architect._audit_note_gap(target regclass, kind text, detail text)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM architect._audit_note(registered.table_id, 'GAP', NULL,
                                  jsonb_build_object('gap', kind, 'detail', detail))
    FROM architect.audit_tables AS registered
    JOIN pg_trigger AS trigger
      ON trigger.tgrelid = registered.relation
     AND trigger.tgname = 'architect_audit'
     AND trigger.tgfoid = 'architect.audit_capture'::regproc
    WHERE registered.relation = target
       OR registered.relation IN (SELECT ancestor.relid FROM pg_partition_ancestors(target) AS ancestor);
    RETURN 0;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_gap(regclass, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_gap(regclass, text, text) IS
    'adds a gap to the log of an audited table, or of the one that this is a partition of';

CREATE OR REPLACE FUNCTION architect._audit_note_rewrite()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    target regclass := pg_event_trigger_table_rewrite_oid();
    reason integer := pg_event_trigger_table_rewrite_reason();
BEGIN
    RETURN architect._audit_note_gap(target, 'rewrite', format('%s was rewritten: %s', target, concat_ws(', ',
        CASE WHEN reason & 1 <> 0 THEN 'persistence' END,
        CASE WHEN reason & 2 <> 0 THEN 'default of a new column' END,
        CASE WHEN reason & 4 <> 0 THEN 'type of a column' END,
        CASE WHEN reason & 8 <> 0 THEN 'access method' END)));
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_rewrite() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_rewrite() IS
    'adds a gap to the log of an audited table that is being rewritten';
