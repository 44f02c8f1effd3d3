-- backfill: what can be seen of jobs.

CREATE OR REPLACE VIEW architect._backfill_visible WITH (security_barrier) AS
    SELECT register.job
    FROM architect.backfill_register AS register
    LEFT JOIN pg_roles AS owner ON owner.rolname = register.owner
    WHERE pg_has_role(owner.oid, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW architect._backfill_visible IS
    'jobs that the current user may see: those of his roles, or all for members of pg_monitor';

-- Who is at work holds a lock; on a standby locks of the primary are not seen.
CREATE OR REPLACE VIEW architect._backfill_running AS
    SELECT lock.objid::bigint AS job,
           lock.objsubid::integer AS worker,
           lock.pid
    FROM pg_locks AS lock
    WHERE lock.locktype = 'object'
      AND lock.database = (SELECT base.oid FROM pg_database AS base WHERE base.datname = current_database())
      AND lock.classid = 'architect.backfill_register'::regclass
      AND lock.mode = 'ExclusiveLock'
      AND lock.granted;
COMMENT ON VIEW architect._backfill_running IS
    'processes at work on jobs; worker 0 leads';

CREATE OR REPLACE VIEW architect._backfill_figures AS
    WITH process AS MATERIALIZED (
        SELECT running.job,
               bool_or(running.worker = 0) AS is_led,
               max(running.pid) FILTER (WHERE running.worker = 0) AS pid,
               count(*) AS processes,
               count(worker.waiting_for) AS waiting,
               (array_agg(worker.waiting_for ORDER BY running.worker)
                    FILTER (WHERE worker.waiting_for IS NOT NULL))[1] AS waiting_for,
               (array_agg(worker.waiting_since ORDER BY running.worker)
                    FILTER (WHERE worker.waiting_for IS NOT NULL))[1] AS waiting_since,
               max(worker.batch_rows) AS batch_rows,
               sum(worker.open_blocks) AS open_blocks,
               sum(worker.recent_rows * 1000 / nullif(worker.recent_ms + 1000
                   * greatest(extract(epoch FROM clock_timestamp() - worker.seen_at), 0)::double precision, 0)) AS rate
        FROM architect._backfill_running AS running
        LEFT JOIN architect.backfill_workers AS worker ON worker.job = running.job AND worker.worker = running.worker
        GROUP BY running.job
    )
    SELECT register.job,
           register.state IN ('waiting', 'running') AS is_going,
           coalesce(process.is_led, false) AS is_led,
           process.pid,
           process.processes,
           CASE WHEN register.state <> 'running' OR pg_is_in_recovery() THEN register.state
                WHEN process.is_led AND process.waiting < process.processes THEN 'running'
                ELSE 'waiting'
           END AS state,
           CASE WHEN register.state NOT IN ('waiting', 'running') OR pg_is_in_recovery() THEN NULL
                WHEN process.is_led THEN process.waiting_for
                WHEN register.workers = 0 THEN 'to be called again'
                WHEN register.home <> architect._backfill_home()
                    THEN 'to be resumed: it began in another server, or before a promotion'
                WHEN register.called_at > clock_timestamp() - interval '10 seconds' THEN 'a background worker'
                ELSE 'to be resumed'
           END AS waiting_for,
           CASE WHEN register.state NOT IN ('waiting', 'running') OR pg_is_in_recovery() THEN NULL
                WHEN process.is_led THEN process.waiting_since
                ELSE greatest(total.seen_at, register.called_at)
           END AS waiting_since,
           process.batch_rows,
           CASE WHEN process.is_led THEN process.rate
                WHEN register.finished_at > register.started_at
                    THEN total.rows_done
                         / extract(epoch FROM register.finished_at - register.started_at)::double precision
           END AS rate,
           coalesce(total.rows_done, 0) AS rows_done,
           total.rows_hot,
           total.wal_bytes,
           coalesce(total.retries, 0) AS retries,
           CASE WHEN register.state = 'done' THEN register.rows_left
                WHEN register.phase <> 'walk'
                    THEN round(coalesce(register.rows_left, 0)
                               * (1 - coalesce(part.walked / nullif(part.blocks, 0), 0)))::bigint
                -- As many in what is left as there were in what is done; before, as the planner thinks.
                WHEN register.walk = 'block' AND part.walked > 0
                    THEN greatest(least(coalesce(total.rows_done, 0) * (part.blocks - part.walked) / part.walked,
                                        part.tuples - coalesce(total.rows_done, 0)), 0)::bigint
                WHEN register.rows_total IS NOT NULL
                    THEN greatest(register.rows_total - coalesce(total.rows_done, 0), 0)
           END AS rows_left
    FROM architect.backfill_register AS register
    LEFT JOIN process ON process.job = register.job
    CROSS JOIN LATERAL (
        SELECT sum(worker.rows_done)::bigint AS rows_done,
               sum(worker.rows_hot)::bigint AS rows_hot,
               sum(worker.wal_bytes)::bigint AS wal_bytes,
               sum(worker.retries)::bigint AS retries,
               max(worker.seen_at) AS seen_at
        FROM architect.backfill_workers AS worker
        WHERE worker.job = register.job
    ) AS total
    CROSS JOIN LATERAL (
        SELECT sum(part.blocks) AS blocks,
               sum(CASE WHEN part.done THEN part.blocks ELSE part.next_block END)
                   - coalesce(process.open_blocks, 0) AS walked,
               CASE WHEN bool_and(part.blocks = 0 OR class.relpages > 0)
                    THEN sum(class.reltuples::double precision / nullif(class.relpages, 0) * part.blocks)
               END AS tuples
        FROM architect.backfill_parts AS part
        LEFT JOIN pg_class AS class ON class.oid = part.relation
        WHERE part.job = register.job
    ) AS part;
COMMENT ON VIEW architect._backfill_figures IS
    'how jobs stand, for whoever may see it';

CREATE OR REPLACE VIEW architect.backfill_jobs WITH (security_barrier) AS
    SELECT register.job,
           register.target,
           register.assignment,
           register.filter,
           register.walk,
           figures.state,
           register.error,
           register.owner,
           register.created_at,
           register.started_at,
           register.finished_at,
           register.key_index,
           register.workers,
           figures.pid,
           register.on_error,
           register.max_rejects,
           register.batch_time,
           register.lock_timeout,
           nullif(register.max_lag, interval '0') AS max_lag,
           nullif(register.max_lag_bytes, 0) AS max_lag_bytes,
           nullif(register.max_wal_rate, 0) AS max_wal_rate,
           nullif(register.max_active_sessions, 0) AS max_active_sessions,
           register.throttle_query,
           nullif(register.max_slot_bytes, 0) AS max_slot_bytes,
           nullif(register.max_archive_queue, 0) AS max_archive_queue,
           nullif(register.max_transaction_age, interval '0') AS max_transaction_age,
           nullif(register.max_vacuum_wait, interval '0') AS max_vacuum_wait
    FROM architect.backfill_register AS register
    JOIN architect._backfill_visible AS visible ON visible.job = register.job
    JOIN architect._backfill_figures AS figures ON figures.job = register.job;
GRANT SELECT ON architect.backfill_jobs TO PUBLIC;
COMMENT ON VIEW architect.backfill_jobs IS
'backfill jobs: what they do, their state and their limits; your roles'' own, or all for members of pg_monitor
SELECT * FROM architect.backfill_jobs;';

CREATE OR REPLACE VIEW architect.backfill_progress WITH (security_barrier) AS
    SELECT register.job,
           register.target,
           figures.state,
           figures.rows_done,
           figures.rows_left,
           round(figures.rate::numeric) AS rows_per_second,
           CASE WHEN figures.is_going AND figures.is_led AND figures.rate > 0 AND figures.rows_left IS NOT NULL
                -- A century is as good as never.
                THEN clock_timestamp() + least(figures.rows_left / figures.rate, 3155760000) * interval '1 second'
           END AS eta,
           figures.batch_rows,
           round(figures.rows_hot / nullif(figures.rows_done, 0)::numeric, 3) AS hot_share,
           round(figures.wal_bytes / nullif(figures.rows_done, 0)::numeric) AS wal_bytes_per_row,
           figures.retries,
           (SELECT count(*) FROM architect.backfill_rejected AS rejected
            WHERE rejected.job = register.job) AS rejects,
           figures.waiting_for,
           figures.waiting_since,
           register.phase,
           figures.processes
    FROM architect.backfill_register AS register
    JOIN architect._backfill_visible AS visible ON visible.job = register.job
    JOIN architect._backfill_figures AS figures ON figures.job = register.job;
GRANT SELECT ON architect.backfill_progress TO PUBLIC;
COMMENT ON VIEW architect.backfill_progress IS
'how far backfill jobs are, how fast, and what they wait for
SELECT job, state, rows_done, rows_left, eta, waiting_for FROM architect.backfill_progress;';
COMMENT ON COLUMN architect.backfill_progress.rows_per_second IS
    'of about the last minute, waits included; of a job at its end, from beginning to end';
COMMENT ON COLUMN architect.backfill_progress.eta IS 'when it will be done at this rate';
COMMENT ON COLUMN architect.backfill_progress.batch_rows IS 'rows of the last batch';
COMMENT ON COLUMN architect.backfill_progress.hot_share IS 'share of the changed rows that left the indexes alone';
COMMENT ON COLUMN architect.backfill_progress.retries IS 'batches tried again because a lock was in the way';
COMMENT ON COLUMN architect.backfill_progress.processes IS 'sessions and workers at work on it';

CREATE OR REPLACE VIEW architect.backfill_rejects WITH (security_barrier) AS
    SELECT rejected.job,
           rejected.record_id,
           rejected.sqlstate,
           rejected.message,
           rejected.rejected_at,
           rejected.relation
    FROM architect.backfill_rejected AS rejected
    JOIN architect._backfill_visible AS visible ON visible.job = rejected.job;
GRANT SELECT ON architect.backfill_rejects TO PUBLIC;
COMMENT ON VIEW architect.backfill_rejects IS
'rows that backfill jobs could not change, with the error of each
SELECT * FROM architect.backfill_rejects WHERE job = 7;';

CREATE OR REPLACE VIEW architect.backfill_events WITH (security_barrier) AS
    SELECT entry.job,
           entry.at,
           entry.event,
           entry.detail
    FROM architect.backfill_log AS entry
    JOIN architect._backfill_visible AS visible ON visible.job = entry.job
    ORDER BY entry.id;
GRANT SELECT ON architect.backfill_events TO PUBLIC;
COMMENT ON VIEW architect.backfill_events IS
'what happened to backfill jobs, in order
SELECT * FROM architect.backfill_events WHERE job = 7;';

CREATE OR REPLACE FUNCTION architect._backfill_line(job bigint)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format('backfill %s: %s rows done', figures.job, figures.rows_done)
           || CASE WHEN figures.rows_left IS NULL THEN ''
                   WHEN figures.rows_done + figures.rows_left = 0 THEN ''
                   ELSE format(', %s left (%s %%)', figures.rows_left,
                               figures.rows_done * 100 / (figures.rows_done + figures.rows_left))
              END
           || coalesce(format(', %s rows/s', round(figures.rate::numeric)), '')
           || CASE WHEN figures.rate > 0 AND figures.rows_left > 0
                   THEN format(', %s to go',
                               make_interval(secs => round(least(figures.rows_left / figures.rate, 3155760000))))
                   ELSE ''
              END
           || coalesce('; waiting for ' || figures.waiting_for, '')
    FROM architect._backfill_figures AS figures
    WHERE figures.job = $1
$function$;
REVOKE ALL ON FUNCTION architect._backfill_line(bigint) FROM PUBLIC;
COMMENT ON FUNCTION architect._backfill_line(bigint) IS
    'how far a job is, in one line';
