-- audit: which tables are audited and how, and what their log rows take.

CREATE OR REPLACE FUNCTION architect.audit_options(trigger_oid oid)
    RETURNS TABLE (capture text, truncate text, exclude text[], mask text[], key text[],
                   outdated boolean, missing boolean)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH given AS (
            -- The argument of the trigger, which ends with a zero byte.
            SELECT trigger.tgrelid,
                   convert_from(substring(trigger.tgargs FROM 1 FOR length(trigger.tgargs) - 1),
                                getdatabaseencoding())::jsonb AS argument
            FROM pg_trigger AS trigger
            WHERE trigger.oid = trigger_oid
        ), option AS (
            SELECT given.tgrelid, part.*,
                   given.argument ->> 'source' = format('%s/%s/%s', control.system_identifier, db.oid,
                                                             given.tgrelid::oid) AS by_number
            FROM given
            CROSS JOIN pg_control_system() AS control
            JOIN pg_database AS db ON db.datname = current_database()
            CROSS JOIN LATERAL jsonb_to_record(given.argument)
                AS part (capture text, truncate text, exclude text[], mask text[], key text[],
                         exclude_attnums integer[], mask_attnums integer[], key_attnums integer[])
        ), listed AS (
            SELECT list.kind, list.place, list.name, option.by_number,
                   coalesce(by_number.attname, by_name.attname) AS attname
            FROM option
            CROSS JOIN LATERAL (
                SELECT 'exclude' AS kind, * FROM unnest(option.exclude, option.exclude_attnums) WITH ORDINALITY
                UNION ALL
                SELECT 'mask', * FROM unnest(option.mask, option.mask_attnums) WITH ORDINALITY
                UNION ALL
                SELECT 'key', * FROM unnest(option.key, option.key_attnums) WITH ORDINALITY
            ) AS list (kind, name, number, place)
            LEFT JOIN pg_attribute AS by_number
              ON option.by_number AND by_number.attrelid = option.tgrelid
             AND by_number.attnum = list.number AND NOT by_number.attisdropped
            LEFT JOIN pg_attribute AS by_name
              ON by_name.attrelid = option.tgrelid AND by_name.attname = list.name
             AND NOT by_name.attisdropped
        )
        SELECT option.capture, option.truncate,
               ARRAY(SELECT listed.attname::text FROM listed
                     WHERE listed.kind = 'exclude' AND listed.attname IS NOT NULL
                     ORDER BY listed.place),
               ARRAY(SELECT listed.attname::text FROM listed
                     WHERE listed.kind = 'mask' AND listed.attname IS NOT NULL
                     ORDER BY listed.place),
               ARRAY(SELECT listed.attname::text FROM listed
                     WHERE listed.kind = 'key' AND listed.attname IS NOT NULL
                     ORDER BY listed.place),
               EXISTS (SELECT FROM listed WHERE listed.name IS DISTINCT FROM listed.attname),
               EXISTS (SELECT FROM listed WHERE listed.attname IS NULL AND listed.by_number IS NOT TRUE)
        FROM option;
EXCEPTION
    -- Somebody made the trigger by hand: there is nothing to tell.
    WHEN data_exception THEN
        RETURN;
END
$function$;
COMMENT ON FUNCTION architect.audit_options(oid) IS
'options that an audit trigger was made with; no row for one not made by audit_enable
SELECT options.* FROM pg_trigger, architect.audit_options(oid) AS options WHERE tgname = ''architect_audit'';';

CREATE OR REPLACE FUNCTION architect._audit_default_rows()
    RETURNS integer
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regclass('architect.audit_log_default') IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*)
            FROM (SELECT
                  FROM architect.audit_log_default AS row
                  WHERE row.operation = ANY (architect._audit_removable())
                  LIMIT 100000) AS counted);
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_default_rows() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_default_rows() IS
    'what audit_default_rows does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect.audit_default_rows()
    RETURNS integer
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_default_rows';
COMMENT ON FUNCTION architect.audit_default_rows() IS
'log rows, of all tables, that no partition but the default one takes; counts to 100000
SELECT architect.audit_default_rows();';

CREATE OR REPLACE FUNCTION architect.audit_sizes()
    RETURNS TABLE (table_id integer, log_bytes bigint, growth_per_day bigint, oldest timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
DECLARE
    blocks constant integer := 256;
    week timestamptz := now() - interval '7 days';
    size record;
    percent real;
    week_percent real;
BEGIN
    IF to_regclass('architect.audit_log') IS NULL THEN
        RETURN;
    END IF;
    SELECT sum(part.bytes) AS heap,
           sum(part.bytes) FILTER (WHERE part.bound IS NULL OR part.bound[1]::timestamptz > week) AS week_heap,
           sum(part.index_bytes) AS indexes
    INTO size
    FROM (SELECT pg_relation_size(tree.relid) AS bytes,
                 (SELECT sum(pg_relation_size(index.indexrelid)) FROM pg_index AS index
                  WHERE index.indrelid = tree.relid) AS index_bytes,
                 regexp_match(pg_get_expr(class.relpartbound, class.oid), $$TO \('([^']+)'\)$$) AS bound
          FROM pg_partition_tree('architect.audit_log') AS tree
          JOIN pg_class AS class ON class.oid = tree.relid
          WHERE tree.isleaf) AS part;
    percent := least(100, 100.0 * blocks * current_setting('block_size')::integer / nullif(size.heap, 0));
    week_percent := least(100, 100.0 * blocks * current_setting('block_size')::integer / nullif(size.week_heap, 0));

    RETURN QUERY
        WITH sample AS (
            SELECT log.*, 100 / percent AS weight, false AS of_week
            FROM architect.audit_log AS log TABLESAMPLE SYSTEM (percent) REPEATABLE (0)
            UNION ALL
            SELECT log.*, 100 / week_percent, true
            FROM architect.audit_log AS log TABLESAMPLE SYSTEM (week_percent) REPEATABLE (0)
            WHERE log.changed_at >= week
        ), estimate AS (
            -- 120 bytes for what every row has.
            SELECT sample.table_id, sample.of_week, min(sample.changed_at) AS first,
                   sum(sample.weight * (120 + coalesce(length(sample.record_id), 0)
                                            + coalesce(pg_column_size(sample.old_values), 0)
                                            + coalesce(pg_column_size(sample.new_values), 0)
                                            + coalesce(pg_column_size(sample.context), 0)))
                   * (1 + size.indexes / greatest(size.heap, 1)) AS bytes
            FROM sample
            JOIN architect.audit_tables AS registered ON registered.table_id = sample.table_id
            WHERE sample.changed_at >= coalesce(registered.removed_before, '-infinity')
            GROUP BY sample.table_id, sample.of_week
        )
        SELECT registered.table_id,
               coalesce(whole.bytes, 0)::bigint,
               (coalesce(recent.bytes, 0)
                / extract(epoch FROM least(greatest(now() - began.at, '1 day'), '7 days')) * 86400)::bigint,
               began.at
        FROM architect.audit_tables AS registered
        LEFT JOIN estimate AS whole ON whole.table_id = registered.table_id AND NOT whole.of_week
        LEFT JOIN estimate AS recent ON recent.table_id = registered.table_id AND recent.of_week
        CROSS JOIN LATERAL (
            SELECT greatest(registered.registered_at, registered.removed_before) AS first
        ) AS known
        CROSS JOIN LATERAL (
            -- In a large log, within an hour from when there can be rows.
            SELECT CASE WHEN percent < 100 THEN coalesce(
                       (SELECT log.changed_at FROM architect.audit_log AS log
                        WHERE log.table_id = registered.table_id
                          AND log.changed_at >= known.first
                          AND log.changed_at < known.first + interval '1 hour'
                        LIMIT 1), known.first)
                       ELSE whole.first
                   END AS at
        ) AS began
        WHERE registered.table_id = ANY (architect.audit_readable());
END
$function$;
COMMENT ON FUNCTION architect.audit_sizes() IS
'of each table that the current user owns: bytes in the log, growth, oldest log row; estimates, from a sample
SELECT * FROM architect.audit_sizes();';

CREATE OR REPLACE VIEW architect.audit_status AS
    SELECT trigger.tgrelid::regclass AS relation,
           registered.table_id,
           options.capture,
           options.exclude,
           options.mask,
           identity.key,
           substring(pg_get_triggerdef(trigger.oid) FROM 'WHEN \((.*)\) EXECUTE FUNCTION') AS condition,
           options.truncate,
           trigger.tgenabled = 'A' AS replica,
           CASE
               WHEN options.capture IS NULL
                   THEN 'the trigger was not made by architect.audit_enable: drop it and call that'
               WHEN registered.table_id IS NULL OR to_regclass('architect.audit_log') IS NULL
                   THEN 'not registered, or without a log: call architect.audit_enable again'
               WHEN identity.key IS NULL
                   THEN 'there is no unique index to name a row by'
               WHEN tree.disabled IS NOT NULL
                   THEN format('trigger %I on %s is disabled: call architect.audit_enable again',
                               tree.disabled, tree.disabled_on)
               WHEN tree.bare IS NOT NULL
                   THEN format('TRUNCATE of %s is not seen: call architect.audit_enable again', tree.bare)
               WHEN tree.deletes = 0
                   THEN 'DELETE is not seen: call architect.audit_enable again'
               WHEN options.missing
                   THEN 'names a column that does not exist, so every change fails: call architect.audit_enable again'
               WHEN options.outdated
                   THEN 'names a column as it was called before: call architect.audit_enable again '
                        'before a dump or an upgrade'
           END AS problem,
           -- For those who read the table's log rows.
           CASE WHEN sizes.table_id IS NOT NULL THEN retention.keep END AS keep,
           CASE WHEN sizes.table_id IS NOT NULL THEN retention.hold END AS hold,
           sizes.log_bytes,
           sizes.growth_per_day,
           sizes.oldest,
           (SELECT architect.audit_default_rows()) AS default_rows
    FROM pg_trigger AS trigger
    LEFT JOIN architect.audit_tables AS registered ON registered.relation = trigger.tgrelid
    LEFT JOIN architect.audit_sizes() AS sizes ON sizes.table_id = registered.table_id
    LEFT JOIN architect.audit_retention AS retention ON retention.table_id = registered.table_id
    LEFT JOIN LATERAL architect.audit_options(trigger.oid) AS options ON true
    LEFT JOIN LATERAL (
        -- The key asked for, as long as an index keeps it unique, else the table's own.
        SELECT array_agg(part.attname::text
                         ORDER BY coalesce(array_position(options.key, part.attname::text),
                                           array_position(index.indkey::smallint[], part.attnum))) AS key
        FROM (SELECT *, (candidate.indkey::smallint[])[0:candidate.indnkeyatts - 1] AS columns
              FROM pg_index AS candidate
              WHERE candidate.indrelid = trigger.tgrelid
                AND candidate.indisunique
                AND candidate.indisvalid
                AND candidate.indpred IS NULL
                AND candidate.indexprs IS NULL
                AND CASE WHEN options.key <> '{}' THEN
                             ARRAY(SELECT att.attname::text FROM pg_attribute AS att
                                   WHERE att.attrelid = trigger.tgrelid
                                     AND att.attnum = ANY ((candidate.indkey::smallint[])[0:candidate.indnkeyatts - 1])
                                   ORDER BY 1) = ARRAY(SELECT asked FROM unnest(options.key) AS asked ORDER BY 1)
                         ELSE candidate.indisprimary OR candidate.indisreplident
                    END
              ORDER BY candidate.indisprimary DESC
              LIMIT 1) AS index
        JOIN pg_attribute AS part
          ON part.attrelid = trigger.tgrelid
         AND part.attnum = ANY (index.columns)
    ) AS identity ON true
    CROSS JOIN LATERAL (
        SELECT min(member.relid) FILTER (WHERE NOT EXISTS (
                   SELECT FROM pg_trigger AS other
                   WHERE other.tgrelid = member.relid
                     AND other.tgname = 'architect_audit_truncate'))::regclass AS bare,
               (SELECT count(*) FROM pg_trigger AS other
                WHERE other.tgrelid = trigger.tgrelid
                  AND other.tgname IN ('architect_audit', 'architect_audit_delete')
                  AND other.tgtype & 8 <> 0) AS deletes,
               min(other.tgname) AS disabled,
               min(other.tgrelid)::regclass AS disabled_on
        FROM (SELECT trigger.tgrelid AS relid
              UNION
              SELECT part.relid::oid FROM pg_partition_tree(trigger.tgrelid) AS part) AS member
        LEFT JOIN pg_trigger AS other
          ON other.tgrelid = member.relid
         AND other.tgname IN ('architect_audit', 'architect_audit_delete', 'architect_audit_truncate')
         AND other.tgenabled IN ('D', 'R')
    ) AS tree
    WHERE trigger.tgfoid = 'architect.audit_capture'::regproc
      AND trigger.tgparentid = 0
      AND trigger.tgname = 'architect_audit';
GRANT SELECT ON architect.audit_status TO PUBLIC;
COMMENT ON VIEW architect.audit_status IS
'every audited table, how it is audited, what is wrong with that, and what its log rows take
SELECT * FROM architect.audit_status;';
COMMENT ON COLUMN architect.audit_status.keep IS 'as in audit_retain; NULL: for ever';
COMMENT ON COLUMN architect.audit_status.hold IS 'reason of audit_hold';
COMMENT ON COLUMN architect.audit_status.log_bytes IS 'estimate: what its log rows take, with indexes';
COMMENT ON COLUMN architect.audit_status.growth_per_day IS
    'estimate: bytes a day that its log rows of the last week take';
COMMENT ON COLUMN architect.audit_status.oldest IS
    'its oldest log row; in a large log this may be a time from before which there is none';
COMMENT ON COLUMN architect.audit_status.default_rows IS
    'of the whole log: rows that audit_maintain should have moved to a partition of their own; counts to 100000';
