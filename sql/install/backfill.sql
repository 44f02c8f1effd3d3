-- backfill: the two ways to run one.

CREATE OR REPLACE PROCEDURE architect.backfill(
    target regclass, set text, filter text DEFAULT NULL, walk text DEFAULT NULL, key regclass DEFAULT NULL,
    batch_time interval DEFAULT '200ms', on_error text DEFAULT 'stop', max_rejects bigint DEFAULT 1000,
    max_lag interval DEFAULT NULL, max_lag_bytes bigint DEFAULT NULL, max_wal_rate bigint DEFAULT NULL,
    max_active_sessions integer DEFAULT NULL, throttle_query text DEFAULT NULL, lock_timeout interval DEFAULT '1s',
    max_slot_bytes bigint DEFAULT NULL, max_archive_queue integer DEFAULT NULL,
    max_transaction_age interval DEFAULT NULL, max_vacuum_wait interval DEFAULT NULL,
    allow_subqueries boolean DEFAULT false)
    LANGUAGE C
    AS 'MODULE_PATHNAME', 'architect_backfill';
COMMENT ON PROCEDURE architect.backfill(regclass, text, text, text, regclass, interval, text, bigint, interval, bigint,
    bigint, integer, text, interval, bigint, integer, interval, interval, boolean) IS
'changes every row of a big table in small commits, in this session; goes on where an interrupted call ended
CALL architect.backfill(''orders'', set => ''total_cents = total * 100'', filter => ''total_cents IS NULL'');';

CREATE OR REPLACE FUNCTION architect.backfill_start(
    target regclass, set text, filter text DEFAULT NULL, walk text DEFAULT NULL, key regclass DEFAULT NULL,
    batch_time interval DEFAULT '200ms', workers integer DEFAULT 1, on_error text DEFAULT 'stop',
    max_rejects bigint DEFAULT 1000, max_lag interval DEFAULT NULL, max_lag_bytes bigint DEFAULT NULL,
    max_wal_rate bigint DEFAULT NULL, max_active_sessions integer DEFAULT NULL, throttle_query text DEFAULT NULL,
    lock_timeout interval DEFAULT '1s', max_slot_bytes bigint DEFAULT NULL, max_archive_queue integer DEFAULT NULL,
    max_transaction_age interval DEFAULT NULL, max_vacuum_wait interval DEFAULT NULL,
    allow_subqueries boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_start';
COMMENT ON FUNCTION architect.backfill_start(regclass, text, text, text, regclass, interval, integer, text, bigint,
    interval, bigint, bigint, integer, text, interval, bigint, integer, interval, interval, boolean) IS
'the same in the background: returns the number of the job at once
SELECT architect.backfill_start(''orders'', set => ''total_cents = total * 100'', filter => ''total_cents IS NULL'');';

-- It comes before whatever can fail: the planner puts what is cheap first.
CREATE OR REPLACE FUNCTION architect._backfill_row(row_place tid, writer xid)
    RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1e-30
    AS 'MODULE_PATHNAME', 'architect_backfill_row';
COMMENT ON FUNCTION architect._backfill_row(tid, xid) IS
    'shows a row to the batch in hand; true when it shall be changed';

CREATE OR REPLACE FUNCTION architect._backfill_differs(anyelement, anyelement)
    RETURNS boolean
    LANGUAGE C IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_differs';
COMMENT ON FUNCTION architect._backfill_differs(anyelement, anyelement) IS
    'true for values that are not the same to the byte';

CREATE OR REPLACE FUNCTION architect.backfill_retry(job bigint)
    RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_retry';
COMMENT ON FUNCTION architect.backfill_retry(bigint) IS
'tries the rejected rows of a job again; returns how many were changed
SELECT architect.backfill_retry(7);';
