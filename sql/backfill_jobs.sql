-- Jobs in the background: who may see and steer them, and what they go by.

CREATE EXTENSION pg_architect;
CREATE SCHEMA backfill_jobs;
SET client_min_messages = warning;
CREATE ROLE regress_jobs_owner LOGIN;
CREATE ROLE regress_jobs_member LOGIN;
CREATE ROLE regress_jobs_other LOGIN;
CREATE ROLE regress_jobs_monitor LOGIN;
GRANT regress_jobs_owner TO regress_jobs_member;
GRANT pg_monitor TO regress_jobs_monitor;
GRANT ALL ON SCHEMA backfill_jobs TO regress_jobs_owner;
GRANT USAGE ON SCHEMA backfill_jobs TO PUBLIC;

-- Waits until the job stands as wanted, and nobody is at work where it has ended.
CREATE FUNCTION backfill_jobs.wait_for(wanted_job bigint, wanted text)
    RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    found record;
BEGIN
    FOR i IN 1 .. 1200 LOOP
        SELECT state, processes INTO found FROM architect.backfill_progress WHERE job = wanted_job;
        EXIT WHEN found.state = wanted AND (wanted IN ('waiting', 'running') OR found.processes IS NULL);
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN found.state;
END
$$;

SET SESSION AUTHORIZATION regress_jobs_owner;
SET client_min_messages = warning;
SET search_path = backfill_jobs;
CREATE TABLE item (id integer PRIMARY KEY, day text, v text);
INSERT INTO item SELECT i, '01/02/2020' FROM generate_series(1, 1000) AS i;

-- A job returns at once, and is done with the settings of whoever began it, as its owner.
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.v := new.v || ' ' || session_user || ' ' || current_user || ' ' || current_setting('application_name') || ' '
        || current_setting('architect.backfill_job') || ' ' || current_schema;
    RETURN new;
END
$$;
CREATE TRIGGER who BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION who();
SET DateStyle = 'ISO, DMY';
SELECT architect.backfill_start('item', set => 'v = day::date::text', filter => 'v IS NULL', workers => 2);
SELECT wait_for(1, 'done');
SELECT v, count(*) FROM item GROUP BY v;
DROP TRIGGER who ON item;
RESET DateStyle;

SELECT job, target, assignment, filter, walk, state, error, owner, created_at <= started_at, started_at < finished_at,
       workers, pid
FROM architect.backfill_jobs;
SELECT job, target, state, rows_done, rows_left, rows_per_second > 0 AS has_rate, eta, retries, rejects, waiting_for,
       waiting_since, processes
FROM architect.backfill_progress;
SELECT event, regexp_replace(detail, '[0-9]{2,}', 'N') AS detail FROM architect.backfill_events WHERE event <> 'left out';

-- One that is rolled back has never been.
BEGIN;
SELECT architect.backfill_start('item', set => 'v = 1', filter => 'v <> ''1''') > 0;
ROLLBACK;
SELECT count(*) FROM architect.backfill_jobs;

-- Timeouts that a role has for its sessions do not count.
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_jobs_owner SET statement_timeout = '1ms';
ALTER ROLE regress_jobs_owner SET lock_timeout = '1ms';
ALTER ROLE regress_jobs_owner SET default_transaction_read_only = on;
ALTER ROLE regress_jobs_owner SET default_transaction_isolation = 'serializable';
SET SESSION AUTHORIZATION regress_jobs_owner;
SELECT architect.backfill_start('item', set => 'v = ''2''', filter => 'v <> ''2''') AS job \gset
SELECT wait_for(:job, 'done');
SELECT v, count(*) FROM item GROUP BY v;
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_jobs_owner RESET ALL;
SET SESSION AUTHORIZATION regress_jobs_owner;

-- A job that fails says why, and can go on when that is mended.
ALTER TABLE item ADD CONSTRAINT no_777 CHECK (id <> 777 OR v <> '3');
SELECT architect.backfill_start('item', set => 'v = ''3''', filter => 'v <> ''3''') AS job \gset
SELECT wait_for(:job, 'failed');
SELECT error FROM architect.backfill_jobs WHERE job = :job;
ALTER TABLE item DROP CONSTRAINT no_777;
SELECT FROM architect.backfill_resume(:job);
SELECT wait_for(:job, 'done');
SELECT v, count(*) FROM item GROUP BY v;
SELECT event, regexp_replace(detail, 'process [0-9]+', 'process N') AS detail
FROM architect.backfill_events WHERE job = :job AND event NOT IN ('left out', 'sweep');

-- A job that waits: for a query of the user's own.
CREATE TABLE brake (pulled boolean);
INSERT INTO brake VALUES (true);
SELECT architect.backfill_start('item', set => 'v = ''4''', filter => 'v <> ''4''',
                                throttle_query => 'SELECT pulled FROM backfill_jobs.brake') AS job \gset
SELECT wait_for(:job, 'waiting');
DO $$
BEGIN
    FOR i IN 1 .. 1200 LOOP
        EXIT WHEN EXISTS (SELECT FROM architect.backfill_progress
                          WHERE waiting_for ~ 'throttle' AND waiting_since IS NOT NULL);
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT state, rows_done, waiting_for IS NOT NULL AS waits, waiting_since < clock_timestamp() AS since, processes
FROM architect.backfill_progress WHERE job = :job;

-- fails: a second job for the table
SELECT architect.backfill_start('item', set => 'v = ''5''', filter => 'v <> ''5''');
SET client_min_messages = notice;
-- It goes on already.
SELECT FROM architect.backfill_resume(:job);
SELECT FROM architect.backfill_pause(:job);
SELECT FROM architect.backfill_pause(:job);
SELECT wait_for(:job, 'paused');

-- Limits change while it stands still, or runs; NULL leaves one as it is, and 0 is none.
SELECT FROM architect.backfill_configure(:job, batch_time => '50ms', max_rejects => 5, on_error => 'skip',
                                         max_lag_bytes => 0, max_wal_rate => 1000000000, max_transaction_age => '0');
SELECT batch_time, max_rejects, on_error, lock_timeout, max_lag_bytes, max_wal_rate, max_transaction_age, throttle_query
FROM architect.backfill_jobs WHERE job = :job;
-- fails: values that cannot be
SELECT FROM architect.backfill_configure(:job, batch_time => '0');
SELECT FROM architect.backfill_configure(:job, on_error => 'ignore');
SELECT FROM architect.backfill_configure(:job, max_wal_rate => -1);
-- fails: not a query that answers true or false
SELECT FROM architect.backfill_configure(:job, throttle_query => 'SELECT 1');
-- fails: this role does not see sessions of others
SELECT FROM architect.backfill_configure(:job, max_active_sessions => 5);
-- fails: a number of workers that cannot be
SELECT FROM architect.backfill_resume(:job, workers => 0);

-- Without its throttle query the job comes to its end.
SELECT FROM architect.backfill_configure(:job, throttle_query => '');
SELECT FROM architect.backfill_resume(:job, workers => 2);
SELECT wait_for(:job, 'done');
SELECT v, count(*) FROM item GROUP BY v;

-- fails: it has come to its end
SELECT FROM architect.backfill_pause(:job);
SELECT FROM architect.backfill_resume(:job);
SELECT FROM architect.backfill_cancel(:job);
SELECT FROM architect.backfill_configure(:job, batch_time => '1s');

-- A member of the owner's roles may do what the owner may; what is done stays done.
SET client_min_messages = warning;
SELECT architect.backfill_start('item', set => 'v = ''5''', filter => 'v <> ''5''',
                                throttle_query => 'SELECT pulled FROM backfill_jobs.brake') AS job \gset
SET SESSION AUTHORIZATION regress_jobs_member;
SELECT job, state <> 'done' AS unfinished FROM architect.backfill_jobs ORDER BY job DESC LIMIT 1;
SELECT FROM architect.backfill_cancel(:job);
SELECT backfill_jobs.wait_for(:job, 'cancelled');
SELECT event, detail FROM architect.backfill_events WHERE job = :job AND event = 'cancelled';

-- A role of its own sees nothing, and cannot tell a job from none.
SET SESSION AUTHORIZATION regress_jobs_other;
SELECT count(*) FROM architect.backfill_jobs;
SELECT count(*) FROM architect.backfill_progress;
SELECT count(*) FROM architect.backfill_events;
SELECT count(*) FROM architect.backfill_rejects;
-- fails
SELECT FROM architect.backfill_pause(:job);
SELECT FROM architect.backfill_pause(4711);
SELECT FROM architect.backfill_pause(NULL);
TABLE architect.backfill_register;
TABLE architect.backfill_log;
TABLE architect._backfill_figures;

-- A monitor sees all and steers nothing.
SET SESSION AUTHORIZATION regress_jobs_monitor;
SELECT count(*) > 0 FROM architect.backfill_jobs;
SELECT count(*) > 0 FROM architect.backfill_events;
-- fails
SELECT FROM architect.backfill_resume(:job);

-- A superuser's job in the background is done as the owner of the table.
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT architect.backfill_start('backfill_jobs.item', set => 'v = session_user', filter => 'v <> session_user') AS job \gset
SELECT backfill_jobs.wait_for(:job, 'done');
SELECT v, count(*) FROM backfill_jobs.item GROUP BY v;

-- A job in the foreground goes on when it is called again, or in the background when that is asked for.
SET SESSION AUTHORIZATION regress_jobs_owner;
SET client_min_messages = notice;
SET search_path = backfill_jobs;
ALTER TABLE item ADD CONSTRAINT no_777 CHECK (id <> 777 OR v <> '6') NOT VALID;
CALL architect.backfill('item', set => 'v = ''6''', filter => 'v <> ''6''');
SELECT max(job) AS job FROM architect.backfill_jobs \gset
ALTER TABLE item DROP CONSTRAINT no_777;
SELECT FROM architect.backfill_resume(:job);
SELECT state, waiting_for FROM architect.backfill_progress WHERE job = :job;
SELECT FROM architect.backfill_resume(:job, workers => 1);
SELECT wait_for(:job, 'done');
SELECT v, count(*) FROM item GROUP BY v;

-- A dump has all of it.
RESET SESSION AUTHORIZATION;
SELECT dumped.relation::regclass
FROM pg_extension
CROSS JOIN unnest(extconfig) AS dumped (relation)
WHERE extname = 'pg_architect' AND dumped.relation::regclass::text ~ 'backfill'
ORDER BY dumped.relation::regclass::text COLLATE "C";

SET client_min_messages = warning;
DROP SCHEMA backfill_jobs CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_jobs_owner, regress_jobs_member, regress_jobs_other, regress_jobs_monitor;
