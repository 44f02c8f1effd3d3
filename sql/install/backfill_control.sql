-- backfill: what steers a job.

CREATE OR REPLACE FUNCTION architect._backfill_root(target regclass)
    RETURNS regclass
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE above AS (
        SELECT $1::oid AS relation, 0 AS height
        UNION ALL
        SELECT link.inhparent, above.height + 1
        FROM above
        JOIN pg_inherits AS link ON link.inhrelid = above.relation AND link.inhseqno = 1
    )
    SELECT above.relation::regclass
    FROM above
    ORDER BY above.height DESC
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION architect._backfill_root(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._backfill_root(regclass) IS
    'the table at the top of the tree of partitions or children';

CREATE OR REPLACE FUNCTION architect._backfill_home()
    RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_home';
COMMENT ON FUNCTION architect._backfill_home() IS
    'server, database and timeline, where jobs that were begun here may start by themselves; called by views';

CREATE OR REPLACE FUNCTION architect.backfill_pause(job bigint)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_pause';
COMMENT ON FUNCTION architect.backfill_pause(bigint) IS
'has a job stop after the batch in hand, until backfill_resume
SELECT architect.backfill_pause(7);';

CREATE OR REPLACE FUNCTION architect.backfill_resume(job bigint, workers integer DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_resume';
COMMENT ON FUNCTION architect.backfill_resume(bigint, integer) IS
'has a job go on that was paused, interrupted or failed
SELECT architect.backfill_resume(7);';

CREATE OR REPLACE FUNCTION architect.backfill_cancel(job bigint)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_cancel';
COMMENT ON FUNCTION architect.backfill_cancel(bigint) IS
'ends a job after the batch in hand; what is done stays done
SELECT architect.backfill_cancel(7);';

CREATE OR REPLACE FUNCTION architect.backfill_configure(
        job bigint,
        batch_time interval DEFAULT NULL,
        on_error text DEFAULT NULL,
        max_rejects bigint DEFAULT NULL,
        max_lag interval DEFAULT NULL,
        max_lag_bytes bigint DEFAULT NULL,
        max_wal_rate bigint DEFAULT NULL,
        max_active_sessions integer DEFAULT NULL,
        throttle_query text DEFAULT NULL,
        lock_timeout interval DEFAULT NULL,
        max_slot_bytes bigint DEFAULT NULL,
        max_archive_queue integer DEFAULT NULL,
        max_transaction_age interval DEFAULT NULL,
        max_vacuum_wait interval DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_configure';
COMMENT ON FUNCTION architect.backfill_configure(bigint, interval, text, bigint, interval, bigint, bigint, integer,
    text, interval, bigint, integer, interval, interval) IS
'changes limits of a job, also while it runs; NULL leaves one as it is, 0 means none
SELECT architect.backfill_configure(7, max_lag => ''5s'');';
