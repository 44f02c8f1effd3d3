-- What a job is to watch must be something that its owner can see: a limit that was asked
-- for is refused otherwise, with the GRANT to ask for, and a default one left out aloud.

CREATE EXTENSION pg_architect;
CREATE ROLE "regress_backfill Clerk" LOGIN;
CREATE SCHEMA backfill_manners AUTHORIZATION "regress_backfill Clerk";
SET SESSION AUTHORIZATION "regress_backfill Clerk";
SET search_path = backfill_manners;
CREATE TABLE orders (id integer PRIMARY KEY, total integer);
INSERT INTO orders SELECT i FROM generate_series(1, 10) AS i;
CREATE TABLE queue (id integer);

-- fails: the lag of replicas is not for everybody
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL', max_lag => '10 s');
\echo :LAST_ERROR_SQLSTATE
-- fails: neither in bytes
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL', max_lag => '0', max_lag_bytes => 1);
-- fails: nor is what other sessions do
SELECT architect.backfill_start('orders', set => 'total = id', filter => 'total IS NULL', max_lag => '0', max_active_sessions => 1);

-- fails: two queries
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SELECT true; SELECT true');
-- fails: not a boolean
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SELECT count(*) FROM queue');
\echo :LAST_ERROR_SQLSTATE
-- fails: two columns
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SELECT true, false');
-- fails: no such column
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SELECT closed FROM queue');
-- fails: it writes
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'DELETE FROM queue RETURNING true');
-- fails: it writes
CALL architect.backfill('orders', set => 'total = id', max_lag => '0',
    throttle_query => 'WITH gone AS (DELETE FROM queue) SELECT true');
-- fails: it locks
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SELECT true FROM queue FOR UPDATE');
-- fails: it is no query
CALL architect.backfill('orders', set => 'total = id', max_lag => '0', throttle_query => 'SHOW search_path');
SELECT count(*) FROM architect.backfill_jobs;

-- fails: it raises, and the job with it
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL', max_lag => '0',
    throttle_query => 'SELECT 1 / count(*) > 1 FROM queue');
-- fails: it writes by way of a function
CREATE FUNCTION enqueue() RETURNS boolean LANGUAGE sql AS 'INSERT INTO queue VALUES (1); SELECT false';
CALL architect.backfill('orders', set => 'total = id * 2', filter => 'total IS NULL', max_lag => '0',
    throttle_query => 'SELECT enqueue()');
-- fails: more than one row
CALL architect.backfill('orders', set => 'total = id * 3', filter => 'total IS NULL', max_lag => '0',
    throttle_query => 'SELECT false FROM generate_series(1, 2)');
SELECT target, state, regexp_replace(error, ' \(.*', '') AS error FROM architect.backfill_jobs ORDER BY job;
SELECT count(total), (SELECT count(*) FROM queue) AS queue FROM orders;

-- No row, and NULL, are not true.
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL', max_lag => '0',
    throttle_query => 'SELECT NULL::boolean FROM queue');

-- The default is left out, and that is said.
UPDATE orders SET total = NULL;
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL');
SELECT event, detail FROM architect.backfill_events WHERE event = 'left out' ORDER BY job;

-- With the right there is nothing to say.
RESET SESSION AUTHORIZATION;
GRANT pg_read_all_stats TO "regress_backfill Clerk";
SET SESSION AUTHORIZATION "regress_backfill Clerk";
UPDATE orders SET total = NULL;
CALL architect.backfill('orders', set => 'total = id', filter => 'total IS NULL', max_lag_bytes => 1000000000,
    max_active_sessions => 1000);
SELECT count(total) FROM orders;

-- The rights to views count as well.
RESET SESSION AUTHORIZATION;
BEGIN;
REVOKE SELECT ON pg_catalog.pg_replication_slots FROM PUBLIC;
SET LOCAL SESSION AUTHORIZATION "regress_backfill Clerk";
SELECT architect.backfill_start('orders', set => 'total = id', filter => 'total IS NULL') > 0 AS started;
-- fails: that was asked for
SELECT architect.backfill_start('orders', set => 'total = id', filter => 'total IS NULL', max_slot_bytes => 1000);
ROLLBACK;

DROP EXTENSION pg_architect;
SET client_min_messages = warning;
DROP SCHEMA backfill_manners CASCADE;
DROP ROLE "regress_backfill Clerk";
