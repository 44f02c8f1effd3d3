-- audit: which tables are audited, and how.

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
           END AS problem
    FROM pg_trigger AS trigger
    LEFT JOIN architect.audit_tables AS registered ON registered.relation = trigger.tgrelid
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
'every audited table, how it is audited, and what is wrong with that
SELECT * FROM architect.audit_status;';
