-- audit: who changed what.

CREATE OR REPLACE FUNCTION architect.audit_capture()
    RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_capture';
COMMENT ON FUNCTION architect.audit_capture() IS
    'row trigger of an audited table; made by audit_enable';

CREATE OR REPLACE FUNCTION architect.audit_truncate()
    RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_truncate';
COMMENT ON FUNCTION architect.audit_truncate() IS
    'TRUNCATE trigger of an audited table; made by audit_enable';

CREATE OR REPLACE FUNCTION architect.audit_enable(
        target regclass,
        capture text DEFAULT 'changes',
        exclude name[] DEFAULT NULL,
        mask name[] DEFAULT NULL,
        condition text DEFAULT NULL,
        key name[] DEFAULT NULL,
        truncate text DEFAULT 'event',
        replica boolean DEFAULT false)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_enable';
COMMENT ON FUNCTION architect.audit_enable(regclass, text, name[], name[], text, name[], text, boolean) IS
'record every change of a table in architect.audit_log; for the table''s owner
SELECT architect.audit_enable(''public.orders'', exclude => ''{updated_at}'');';

CREATE OR REPLACE FUNCTION architect.audit_disable(target regclass)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_disable';
COMMENT ON FUNCTION architect.audit_disable(regclass) IS
'stop recording changes of a table; what is in the log stays
SELECT architect.audit_disable(''public.orders'');';

CREATE OR REPLACE FUNCTION architect.audit_set_actor(actor text, context jsonb DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_set_actor';
COMMENT ON FUNCTION architect.audit_set_actor(text, jsonb) IS
'say who makes the changes of this transaction; ends with the transaction
SELECT architect.audit_set_actor(''alice'', ''{"request": "r-1001"}'');';

CREATE OR REPLACE FUNCTION architect.audit_readable()
    RETURNS integer[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(registered.table_id), '{}')
    FROM architect.audit_tables AS registered
    JOIN pg_class AS class ON class.oid = registered.relation
    WHERE pg_has_role(class.relowner, 'USAGE')
$function$;
COMMENT ON FUNCTION architect.audit_readable() IS
'table_id of each audited table that the current user owns and so may read the log of
SELECT architect.audit_readable();';

CREATE OR REPLACE FUNCTION architect._audit_partition()
    RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_partition';
REVOKE ALL ON FUNCTION architect._audit_partition() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_partition() IS
    'value of the setting architect.audit_partition, also where nothing has loaded the library yet';

CREATE OR REPLACE FUNCTION architect._audit_partition_end(start timestamptz)
    RETURNS timestamptz
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
    SELECT date_trunc(unit, start) + ('1 ' || unit)::interval
    FROM architect._audit_partition() AS unit
$function$;
REVOKE ALL ON FUNCTION architect._audit_partition_end(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_partition_end(timestamptz) IS
    'where a partition of the log that begins at this time ends';

CREATE OR REPLACE FUNCTION architect._audit_make_partition(lower timestamptz, upper timestamptz)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET default_tablespace = ''
AS $function$
DECLARE
    whole_month boolean := lower = date_trunc('month', lower) AND upper = lower + interval '1 month';
    name text := to_char(lower, CASE WHEN whole_month THEN '"audit_log_"YYYY_MM' ELSE '"audit_log_"YYYY_MM_DD' END);
BEGIN
    EXECUTE format('CREATE TABLE architect.%I (LIKE architect.audit_log
                        INCLUDING ALL EXCLUDING INDEXES EXCLUDING COMMENTS) USING heap', name);
    -- Publications ask for it, should a row ever be removed.
    EXECUTE format('ALTER TABLE architect.%I REPLICA IDENTITY FULL', name);
    -- Rows that came while there was no partition for them, and no more until it is there.
    LOCK TABLE architect.audit_log_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (
             DELETE FROM architect.audit_log_default
             WHERE changed_at >= %1$L AND changed_at < %2$L
             RETURNING *)
         INSERT INTO architect.%3$I SELECT * FROM moved',
        lower, upper, name);
    EXECUTE format('ALTER TABLE architect.audit_log ATTACH PARTITION architect.%I FOR VALUES FROM (%L) TO (%L)',
                   name, lower, upper);
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_partition(timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_partition(timestamptz, timestamptz) IS
    'adds a partition to the log and moves to it what the default partition has of its time';

CREATE OR REPLACE FUNCTION architect._audit_make_default()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET default_tablespace = ''
AS $function$
BEGIN
    CREATE TABLE architect.audit_log_default PARTITION OF architect.audit_log DEFAULT USING heap;
    ALTER TABLE architect.audit_log_default REPLICA IDENTITY FULL;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_default() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_default() IS
    'makes the partition that takes what no other does';

CREATE OR REPLACE FUNCTION architect._audit_maintain()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
DECLARE
    unit text := architect._audit_partition();
    ahead interval := CASE unit WHEN 'day' THEN '14 days' WHEN 'week' THEN '8 weeks' ELSE '3 months' END;
    horizon timestamptz := now() + ahead;
    bounds tstzrange[];
    lower timestamptz;
    upper timestamptz;
    taken tstzrange;
    made integer := 0;
BEGIN
    IF to_regclass('architect.audit_log') IS NULL THEN
        RAISE NOTICE 'there is no audit log yet'
            USING HINT = 'The first call of architect.audit_enable makes it.';
        RETURN 0;
    END IF;
    LOCK TABLE architect.audit_log IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass('architect.audit_log_default') IS NULL THEN
        PERFORM architect._audit_make_default();
    END IF;

    SELECT array_agg(tstzrange(bound.part[1]::timestamptz, bound.part[2]::timestamptz))
    INTO bounds
    FROM pg_inherits AS inherits
    JOIN pg_class AS class ON class.oid = inherits.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(class.relpartbound, class.oid),
                                    $$FROM \('([^']+)'\) TO \('([^']+)'\)$$) AS bound (part)
    WHERE inherits.inhparent = 'architect.audit_log'::regclass
      AND bound.part IS NOT NULL;

    -- From the oldest row that is in no partition of its own, else from now.
    SELECT date_trunc(unit, least(min(row.changed_at), now()))
    INTO lower
    FROM architect.audit_log_default AS row;

    WHILE lower <= horizon LOOP
        upper := architect._audit_partition_end(lower);
        SELECT range INTO taken
        FROM unnest(bounds) AS range
        WHERE range && tstzrange(lower, upper)
        ORDER BY range
        LIMIT 1;
        IF taken @> lower THEN
            lower := upper(taken);
            CONTINUE;
        END IF;
        upper := least(upper, lower(taken));

        -- Time that has passed needs no partition where no row came.
        IF upper > now()
           OR EXISTS (SELECT FROM architect.audit_log_default AS row
                      WHERE row.changed_at >= lower AND row.changed_at < upper) THEN
            PERFORM architect._audit_make_partition(lower, upper);
            made := made + 1;
        END IF;
        lower := upper;
    END LOOP;
    RETURN made;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_maintain() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_maintain() IS
    'what audit_maintain does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect.audit_maintain()
    RETURNS integer
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_maintain';
REVOKE ALL ON FUNCTION architect.audit_maintain() FROM PUBLIC;
COMMENT ON FUNCTION architect.audit_maintain() IS
'make the partitions of the audit log that will be needed next; call it once a day
SELECT architect.audit_maintain();';

CREATE OR REPLACE FUNCTION architect._audit_make_log()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET default_tablespace = ''
AS $function$
BEGIN
    -- The order of the columns is known to the library (src/audit/log.c).
    CREATE TABLE architect.audit_log (
        id bigint NOT NULL,
        changed_at timestamptz NOT NULL,
        transaction_id xid8 NOT NULL,
        table_id integer NOT NULL,
        operation text NOT NULL,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        record_id text COLLATE "C",
        changed_by text NOT NULL,
        session_role text,
        old_values jsonb,
        new_values jsonb,
        context jsonb
    ) PARTITION BY RANGE (changed_at);
    CREATE SEQUENCE architect.audit_log_id_seq OWNED BY architect.audit_log.id;
    -- Compared byte by byte, which is all that looking a record up needs.
    CREATE INDEX audit_log_record_idx ON architect.audit_log (record_id text_pattern_ops, table_id);

    REVOKE ALL ON architect.audit_log FROM PUBLIC;
    GRANT SELECT ON architect.audit_log TO PUBLIC;
    ALTER TABLE architect.audit_log ENABLE ROW LEVEL SECURITY;
    CREATE POLICY audit_log_read ON architect.audit_log FOR SELECT
        USING (table_id = ANY ((SELECT architect.audit_readable())::integer[]));

    COMMENT ON TABLE architect.audit_log IS
'one row a change of an audited table; a table''s owner reads the rows of that table
SELECT * FROM architect.audit_log WHERE table_name = ''orders'' AND record_id = ''42'' ORDER BY id;';
    COMMENT ON COLUMN architect.audit_log.id IS
        'ascends along the changes of one record; has gaps';
    COMMENT ON COLUMN architect.audit_log.changed_at IS
        'time of the change by the server''s clock';
    COMMENT ON COLUMN architect.audit_log.transaction_id IS 'transaction that made the change';
    COMMENT ON COLUMN architect.audit_log.table_id IS
        'number of the table in architect.audit_tables; stays when the table is renamed';
    COMMENT ON COLUMN architect.audit_log.operation IS 'INSERT, UPDATE, DELETE or TRUNCATE';
    COMMENT ON COLUMN architect.audit_log.table_schema IS
        'schema of the table at the time of the change';
    COMMENT ON COLUMN architect.audit_log.table_name IS
        'name of the table at the time; of a partition, that of the partitioned table';
    COMMENT ON COLUMN architect.audit_log.record_id IS
        'text of the row''s key; a JSON array of texts for a key of several columns';
    COMMENT ON COLUMN architect.audit_log.changed_by IS
        'actor of audit_set_actor, else the session user';
    COMMENT ON COLUMN architect.audit_log.session_role IS
        'session user, where changed_by is an actor';
    COMMENT ON COLUMN architect.audit_log.old_values IS 'the row, or its changed columns, before';
    COMMENT ON COLUMN architect.audit_log.new_values IS 'the row, or its changed columns, after';
    COMMENT ON COLUMN architect.audit_log.context IS
        'context of audit_set_actor, and what architect.audit_context adds';

    PERFORM architect._audit_maintain();
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_log() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_log() IS
    'makes the audit log with its first partitions';

CREATE OR REPLACE FUNCTION architect._audit_prepare(target regclass)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF EXISTS (SELECT FROM architect.audit_tables AS registered WHERE registered.relation = target)
       AND to_regclass('architect.audit_log') IS NOT NULL THEN
        RETURN 0;
    END IF;

    LOCK TABLE architect.audit_tables IN SHARE ROW EXCLUSIVE MODE;
    IF to_regclass('architect.audit_log') IS NULL THEN
        PERFORM architect._audit_make_log();
    END IF;
    INSERT INTO architect.audit_tables (relation) VALUES (target) ON CONFLICT DO NOTHING;
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_prepare(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_prepare(regclass) IS
    'makes the log if there is none and registers the table; 0 where both was done already';

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
