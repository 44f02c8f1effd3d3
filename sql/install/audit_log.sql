-- audit: the log, its partitions, and the register of tables.

CREATE OR REPLACE FUNCTION architect._audit_note(
        table_id integer, table_schema text, table_name text, operation text, record_id text, context jsonb)
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_note_sql';
REVOKE ALL ON FUNCTION architect._audit_note(integer, text, text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note(integer, text, text, text, text, jsonb) IS
    'adds to the log what is no change of a row; returns its id';

CREATE OR REPLACE FUNCTION architect._audit_note(
        table_id integer, operation text, record_id text, context jsonb)
    RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT architect._audit_note(noted.table_id, coalesce(namespace.nspname, '?'), coalesce(class.relname, '?'),
                                 operation, record_id, context)
    FROM (SELECT table_id) AS noted
    LEFT JOIN architect.audit_tables AS registered ON registered.table_id = noted.table_id
    LEFT JOIN pg_class AS class ON class.oid = registered.relation
    LEFT JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
$function$;
REVOKE ALL ON FUNCTION architect._audit_note(integer, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note(integer, text, text, jsonb) IS
    'the same, under the present name of the table';

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

CREATE OR REPLACE FUNCTION architect._audit_removable()
    RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT '{INSERT,UPDATE,DELETE,TRUNCATE,BASELINE}'::text[]
$function$;
REVOKE ALL ON FUNCTION architect._audit_removable() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_removable() IS
    'operations of log rows that retention may remove; all others tell of the log itself and stay';

CREATE OR REPLACE FUNCTION architect._audit_parts()
    RETURNS TABLE (part regclass, lower timestamptz, upper timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
    SELECT class.oid::regclass,
           coalesce(bound.part[1]::timestamptz, '-infinity'),
           coalesce(bound.part[2]::timestamptz, 'infinity')
    FROM pg_inherits AS inherits
    JOIN pg_class AS class ON class.oid = inherits.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(class.relpartbound, class.oid),
                                    $$FROM \('([^']+)'\) TO \('([^']+)'\)$$) AS bound (part)
    WHERE inherits.inhparent = to_regclass('architect.audit_log')
$function$;
REVOKE ALL ON FUNCTION architect._audit_parts() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_parts() IS
    'partitions of the log and their times, which for the default partition are all';

CREATE OR REPLACE FUNCTION architect._audit_make_partitions()
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
    removable text[] := architect._audit_removable();
BEGIN
    SELECT array_agg(tstzrange(part.lower, part.upper))
    INTO bounds
    FROM architect._audit_parts() AS part
    WHERE part.lower > '-infinity';

    -- From the oldest row that is in no partition of its own, else from now.  What
    -- outlived its partition stays in the default one.
    SELECT date_trunc(unit, least(min(row.changed_at), now()))
    INTO lower
    FROM architect.audit_log_default AS row
    WHERE row.operation = ANY (removable);

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
                      WHERE row.changed_at >= lower AND row.changed_at < upper
                        AND row.operation = ANY (removable)) THEN
            PERFORM architect._audit_make_partition(lower, upper);
            made := made + 1;
        END IF;
        lower := upper;
    END LOOP;
    RETURN made;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_partitions() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_partitions() IS
    'makes the partitions of the log that will be needed next, and where the default one has rows';

CREATE OR REPLACE FUNCTION architect._audit_summarize()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    summary record;
BEGIN
    FOR summary IN
        SELECT index.indexrelid::regclass AS name, index.indrelid::regclass AS part
        FROM pg_inherits AS inherits
        JOIN pg_index AS index ON index.indexrelid = inherits.inhrelid
        WHERE inherits.inhparent = to_regclass('architect.audit_log_order_idx')
    LOOP
        BEGIN
            PERFORM architect._audit_lock_briefly(summary.part::text, 'SHARE UPDATE EXCLUSIVE');
            PERFORM brin_summarize_new_values(summary.name);
        EXCEPTION
            WHEN lock_not_available THEN
                -- VACUUM has it, and does the same.
                CONTINUE;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_summarize() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_summarize() IS
    'tells the BRIN index of the log what was logged since the last time';

CREATE OR REPLACE FUNCTION architect._audit_maintain()
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regclass('architect.audit_log') IS NULL THEN
        RAISE NOTICE 'there is no audit log yet'
            USING HINT = 'The first call of architect.audit_enable makes it.';
        RETURN 0;
    END IF;
    -- One at a time.
    LOCK TABLE ONLY architect.audit_log IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass('architect.audit_log_default') IS NULL THEN
        PERFORM architect._audit_make_default();
    END IF;
    PERFORM architect._audit_summarize();
    PERFORM architect._audit_remove();
    RETURN architect._audit_make_partitions();
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
'remove log rows that audit_retain does not keep, make the partitions needed next; call it once a day
SELECT architect.audit_maintain();';

CREATE OR REPLACE FUNCTION architect._audit_make_commits()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET default_tablespace = ''
AS $function$
BEGIN
    -- The order of the columns is known to the library (src/audit/commit.c).
    CREATE TABLE architect.audit_commits (
        transaction_id xid8 NOT NULL,
        began_at timestamptz NOT NULL,
        committed_at timestamptz NOT NULL
    ) USING heap;
    CREATE INDEX audit_commits_committed_at_idx ON architect.audit_commits (committed_at);
    ALTER TABLE architect.audit_commits REPLICA IDENTITY FULL;
    REVOKE ALL ON architect.audit_commits FROM PUBLIC;
    GRANT SELECT ON architect.audit_commits TO PUBLIC;
    COMMENT ON TABLE architect.audit_commits IS
'when a transaction logged its first change and when it committed, where that was a while later
SELECT * FROM architect.audit_commits ORDER BY committed_at DESC LIMIT 10;';
    COMMENT ON COLUMN architect.audit_commits.transaction_id IS 'as in architect.audit_log';
    COMMENT ON COLUMN architect.audit_commits.began_at IS 'changed_at of its first change';
    COMMENT ON COLUMN architect.audit_commits.committed_at IS
        'time at which it was about to commit, or was prepared';
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_commits() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_commits() IS
    'makes the table of the times of commits';

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
        context jsonb,
        new_record_id text COLLATE "C"
    ) PARTITION BY RANGE (changed_at);
    CREATE SEQUENCE architect.audit_log_id_seq OWNED BY architect.audit_log.id;
    -- Compared byte by byte, which is all that looking a record up needs.
    CREATE INDEX audit_log_record_idx ON architect.audit_log (record_id text_pattern_ops, table_id);
    CREATE INDEX audit_log_new_record_idx ON architect.audit_log (new_record_id text_pattern_ops, table_id)
        WHERE new_record_id IS NOT NULL;
    -- Rows come in the order of time, and so in that of transactions, nearly.
    CREATE INDEX audit_log_order_idx ON architect.audit_log
        USING brin (changed_at, transaction_id architect.xid8_minmax_ops) WITH (pages_per_range = 32);

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
    COMMENT ON COLUMN architect.audit_log.operation IS
        'INSERT, UPDATE, DELETE or TRUNCATE; or what is no change: BASELINE, GAP, ERASE, RETAIN, HOLD, RELEASE';
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
    COMMENT ON COLUMN architect.audit_log.new_record_id IS
        'record_id after an UPDATE that changed the key';

    PERFORM architect._audit_make_default();
    PERFORM architect._audit_make_partitions();
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
       AND to_regclass('architect.audit_log') IS NOT NULL
       AND to_regclass('architect.audit_commits') IS NOT NULL THEN
        RETURN 0;
    END IF;

    LOCK TABLE architect.audit_tables IN SHARE ROW EXCLUSIVE MODE;
    IF to_regclass('architect.audit_log') IS NULL THEN
        PERFORM architect._audit_make_log();
    END IF;
    IF to_regclass('architect.audit_commits') IS NULL THEN
        PERFORM architect._audit_make_commits();
    END IF;
    INSERT INTO architect.audit_tables (relation) VALUES (target) ON CONFLICT DO NOTHING;
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_prepare(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_prepare(regclass) IS
    'makes the log if there is none and registers the table; 0 where both was done already';
