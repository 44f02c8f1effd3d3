-- audit: removal of log rows that are not kept any longer.
--
-- Rows of a time that has passed for every table go with their partition; the
-- others are deleted.  What tells of the log itself (GAP, ERASE, RETAIN, HOLD,
-- RELEASE) outlives its partition, in the default one.

CREATE OR REPLACE FUNCTION architect._audit_sealed_until()
    RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regclass('architect.audit_seals') IS NULL THEN
        RETURN 'infinity';
    END IF;
    RETURN coalesce((SELECT max(seals.sealed_at) FROM architect.audit_seals AS seals), 'infinity');
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_sealed_until() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_sealed_until() IS
    'when the log was sealed last; where it never was, infinity';

CREATE OR REPLACE FUNCTION architect._audit_cutoffs()
    RETURNS TABLE (table_id integer, cutoff timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- Where seals are made, nothing goes unsealed.
    SELECT retention.table_id, least(now() - retention.keep, architect._audit_sealed_until())
    FROM architect.audit_retention AS retention
    WHERE retention.keep IS NOT NULL
      AND retention.hold IS NULL
      AND retention.maintained_at = now()
$function$;
REVOKE ALL ON FUNCTION architect._audit_cutoffs() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_cutoffs() IS
    'tables whose log rows from before this time are to be removed by the present audit_maintain';

CREATE OR REPLACE FUNCTION architect._audit_past_parts()
    RETURNS regclass[]
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    part record;
    past regclass[] := '{}';
    kept boolean;
BEGIN
    FOR part IN
        SELECT *
        FROM architect._audit_parts() AS every
        WHERE every.lower > '-infinity'
          AND every.upper <= (SELECT max(cut.cutoff) FROM architect._audit_cutoffs() AS cut)
        ORDER BY every.lower
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS row
                                       WHERE row.table_id <> ALL ($1) AND row.operation = ANY ($2))', part.part)
        INTO kept
        USING ARRAY(SELECT cut.table_id FROM architect._audit_cutoffs() AS cut WHERE cut.cutoff >= part.upper),
              architect._audit_removable();
        IF NOT kept THEN
            past := past || part.part;
        END IF;
    END LOOP;
    RETURN past;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_past_parts() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_past_parts() IS
    'partitions of the log, oldest first, in which nothing is left to be kept, as far as can be seen';

CREATE OR REPLACE FUNCTION architect._audit_delete(
        part regclass, number integer, since timestamptz, until timestamptz, batch bigint)
    RETURNS architect._audit_removal
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    doomed text := 'row.table_id = $1 AND row.operation = ANY ($2) AND row.changed_at >= $3 AND row.changed_at < $4';
    removable text[] := architect._audit_removable();
    stop timestamptz;
    gone architect._audit_removal;
    transactions xid8[];
    ids bigint[];
BEGIN
    EXECUTE format('SELECT row.changed_at FROM %s AS row WHERE %s ORDER BY row.changed_at OFFSET $5 LIMIT 1',
                   part, doomed)
    INTO stop
    USING number, removable, since, until, batch - 1;

    EXECUTE format('WITH gone AS (DELETE FROM %s AS row WHERE %s
                                  RETURNING table_schema, table_name, changed_at, transaction_id, id)
                    SELECT max(gone.table_schema), max(gone.table_name), count(*), max(gone.changed_at),
                           array_agg(gone.transaction_id), array_agg(gone.id)
                    FROM gone', part, doomed)
    INTO gone.table_schema, gone.table_name, gone.rows, gone.newest, transactions, ids
    USING number, removable, since, least(until, stop + interval '1 microsecond');

    gone.table_id := number;
    IF gone.rows > 0 AND architect._audit_lock_seals() THEN
        gone.seals := architect._audit_forget_rows(transactions, ids);
    END IF;
    RETURN gone;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_delete(regclass, integer, timestamptz, timestamptz, bigint) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_delete(regclass, integer, timestamptz, timestamptz, bigint) IS
    'deletes the oldest log rows of a table in a partition, about that many';

CREATE OR REPLACE FUNCTION architect._audit_sweep(spared regclass[])
    RETURNS architect._audit_removal[]
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    batch constant bigint := 100000;
    -- Of rows, in one call: it is one transaction.
    budget bigint := 1000000;
    removed architect._audit_removal[] := '{}';
    gone architect._audit_removal;
    task record;
BEGIN
    FOR task IN
        -- From where the last call ended, and a day before, for those who committed late.
        SELECT cut.table_id, part.part, part.lower,
               CASE WHEN part.lower = '-infinity' THEN part.lower
                    ELSE greatest(part.lower, retention.swept_before - interval '1 day')
               END AS since,
               least(part.upper, cut.cutoff) AS until
        FROM architect._audit_cutoffs() AS cut
        JOIN architect.audit_retention AS retention ON retention.table_id = cut.table_id
        JOIN architect._audit_parts() AS part ON part.part <> ALL (spared)
        WHERE part.lower < cut.cutoff
          AND (retention.swept_before IS NULL OR part.upper > retention.swept_before - interval '1 day')
        ORDER BY part.lower, cut.table_id
    LOOP
        LOOP
            IF budget <= 0 THEN
                RAISE NOTICE 'more log rows can be removed'
                    USING HINT = 'Call architect.audit_maintain again.';
                RETURN removed;
            END IF;
            gone := architect._audit_delete(task.part, task.table_id, task.since, task.until, batch);
            budget := budget - gone.rows;
            EXIT WHEN gone.rows = 0;
            removed := removed || gone;
            EXIT WHEN gone.rows < batch;
            task.since := gone.newest;
        END LOOP;
        UPDATE architect.audit_retention AS retention
        SET swept_before = task.until
        WHERE retention.table_id = task.table_id
          AND task.lower > '-infinity';
    END LOOP;
    RETURN removed;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_sweep(regclass[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_sweep(regclass[]) IS
    'deletes log rows that are not kept, but for these partitions, and tells what it deleted';

CREATE OR REPLACE FUNCTION architect._audit_count(part regclass)
    RETURNS architect._audit_removal[]
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    counted architect._audit_removal[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(ROW(counted.*)::architect._audit_removal)
         FROM (SELECT row.table_id, max(row.table_schema), max(row.table_name), count(*), max(row.changed_at),
                      NULL::jsonb
               FROM %s AS row
               WHERE row.operation = ANY ($1)
               GROUP BY row.table_id) AS counted', part)
    INTO counted
    USING architect._audit_removable();

    IF cardinality(counted) > 0 AND architect._audit_lock_seals() THEN
        counted[1].seals := architect._audit_forget_partition(part);
    END IF;
    RETURN coalesce(counted, '{}');
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_count(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_count(regclass) IS
    'log rows of each table in a partition that is about to be dropped; the seals are told';

CREATE OR REPLACE FUNCTION architect._audit_drop(part regclass)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format('ALTER TABLE architect.audit_log DETACH PARTITION %s', part);
    EXECUTE format('INSERT INTO architect.audit_log SELECT row.* FROM %s AS row WHERE row.operation <> ALL ($1)', part)
        USING architect._audit_removable();
    EXECUTE format('DROP TABLE %s', part);
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_drop(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_drop(regclass) IS
    'drops a partition of the log; what tells of the log itself moves to the default partition';

CREATE OR REPLACE FUNCTION architect._audit_sweep_again(part regclass)
    RETURNS void
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    UPDATE architect.audit_retention AS retention
    SET swept_before = least(retention.swept_before, spared.lower)
    FROM architect._audit_parts() AS spared
    WHERE spared.part = _audit_sweep_again.part
$function$;
REVOKE ALL ON FUNCTION architect._audit_sweep_again(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_sweep_again(regclass) IS
    'lets the next call look for rows to delete in a partition that was to be dropped, and was not';

CREATE OR REPLACE FUNCTION architect._audit_lock_briefly(relation text, mode text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '2s', true)
    FROM pg_settings AS setting
    WHERE setting.name = 'lock_timeout'
      AND setting.setting::integer NOT BETWEEN 1 AND 2000;
    EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', relation, mode);
    PERFORM set_config('lock_timeout', patience, true);
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_lock_briefly(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_lock_briefly(text, text) IS
    'locks a table, or raises after two seconds: others wait behind us';

CREATE OR REPLACE FUNCTION architect._audit_drop_past(past regclass[])
    RETURNS architect._audit_removal[]
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    removed architect._audit_removal[] := '{}';
    nothing_kept regclass[];
    still regclass[] := '{}';
    part regclass;
BEGIN
    -- Who writes there ends first, and nobody begins.
    FOREACH part IN ARRAY past LOOP
        PERFORM architect._audit_lock_briefly(part::text, 'SHARE');
    END LOOP;
    nothing_kept := architect._audit_past_parts();
    FOREACH part IN ARRAY past LOOP
        IF part = ANY (nothing_kept) THEN
            still := still || part;
            removed := removed || architect._audit_count(part);
        ELSE
            PERFORM architect._audit_sweep_again(part);
        END IF;
    END LOOP;
    IF still = '{}' THEN
        RETURN removed;
    END IF;

    PERFORM architect._audit_lock_briefly('architect.audit_log', 'ACCESS EXCLUSIVE');
    FOREACH part IN ARRAY still LOOP
        PERFORM architect._audit_drop(part);
    END LOOP;
    DELETE FROM architect.audit_commits AS commit
    WHERE commit.committed_at < (SELECT min(rest.lower) FROM architect._audit_parts() AS rest
                                 WHERE rest.lower > '-infinity');
    RETURN removed;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR dependent_objects_still_exist THEN
        RAISE WARNING 'could not drop old partitions of the audit log: %', SQLERRM
            USING HINT = 'Nothing is lost: the next call of architect.audit_maintain tries again.';
        PERFORM architect._audit_sweep_again(past[1]);
        RETURN '{}';
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_drop_past(regclass[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_drop_past(regclass[]) IS
    'drops these partitions of the log, unless that takes long, and tells what was in there';

CREATE OR REPLACE FUNCTION architect._audit_note_removal(removed architect._audit_removal, seals jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Their transactions are to have ended too; none takes longer than a day.
    limit_at timestamptz := greatest(removed.newest + interval '1 microsecond',
        (SELECT max(commit.committed_at) FROM architect.audit_commits AS commit
         WHERE commit.began_at <= removed.newest
           AND commit.committed_at BETWEEN removed.newest AND removed.newest + interval '1 day'));
    current record;
BEGIN
    UPDATE architect.audit_tables AS registered
    SET removed_before = greatest(registered.removed_before, limit_at)
    WHERE registered.table_id = removed.table_id;

    -- Under the table's present name, or the last one of a table that was dropped.
    SELECT namespace.nspname AS schema, class.relname AS name INTO current
    FROM architect.audit_tables AS registered
    JOIN pg_class AS class ON class.oid = registered.relation
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE registered.table_id = removed.table_id;
    PERFORM architect._audit_note(
        removed.table_id, coalesce(current.schema, removed.table_schema), coalesce(current.name, removed.table_name),
        'RETAIN', NULL, jsonb_build_object('before', limit_at, 'rows', removed.rows, 'seals', coalesce(seals, '{}')));
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_note_removal(architect._audit_removal, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_note_removal(architect._audit_removal, jsonb) IS
    'says in the log and in the register what was removed of a table';

CREATE OR REPLACE FUNCTION architect._audit_remove()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
DECLARE
    past regclass[];
    gone architect._audit_removal[];
    removed record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE WARNING 'old log rows are removed in READ COMMITTED only'
            USING HINT = 'Call architect.audit_maintain in a transaction of its own.';
        RETURN;
    END IF;
    -- The seals before the log, as all do who need both.
    PERFORM architect._audit_lock_seals();
    -- A hold that comes now waits for us.  One that is being set right now counts.
    UPDATE architect.audit_retention AS retention
    SET maintained_at = now()
    FROM (SELECT free.table_id FROM architect.audit_retention AS free FOR UPDATE SKIP LOCKED) AS free
    WHERE retention.table_id = free.table_id;

    -- What takes time comes first: to drop a partition stops all capture until we commit.
    past := architect._audit_past_parts();
    gone := architect._audit_sweep(past);
    gone := gone || architect._audit_drop_past(past);

    FOR removed IN
        SELECT ROW(part.table_id, max(part.table_schema), max(part.table_name), sum(part.rows), max(part.newest),
                   NULL)::architect._audit_removal AS total,
               (SELECT jsonb_object_agg(seal.number, seal.rows)
                FROM (SELECT each.key AS number, sum(each.value::bigint) AS rows
                      FROM unnest(gone) AS of_table
                      CROSS JOIN LATERAL jsonb_each_text(of_table.seals) AS each
                      WHERE of_table.table_id = part.table_id
                      GROUP BY each.key) AS seal) AS seals
        FROM unnest(gone) AS part
        GROUP BY part.table_id
        ORDER BY part.table_id
    LOOP
        PERFORM architect._audit_note_removal(removed.total, removed.seals);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_remove() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_remove() IS
    'removes log rows that are not kept, and notes that in the log';
