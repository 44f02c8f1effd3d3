-- What an attacker tries: to have others run what is his, to steer and see jobs of others,
-- to pass for a job.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_backfill_evil LOGIN;
CREATE ROLE regress_backfill_victim;
CREATE ROLE regress_backfill_watcher IN ROLE pg_monitor;
CREATE ROLE regress_backfill_fellow IN ROLE regress_backfill_evil;
CREATE SCHEMA backfill_security AUTHORIZATION regress_backfill_evil;
GRANT ALL ON SCHEMA backfill_security TO PUBLIC;
SET search_path = backfill_security;
SET client_min_messages = warning;

-- A superuser who retries a job does not run its expressions as himself, nor does a member.
SET ROLE regress_backfill_evil;
CREATE TABLE mine (id integer PRIMARY KEY, a integer, b integer);
INSERT INTO mine SELECT i, i, NULL FROM generate_series(1, 10) AS i;
CREATE FUNCTION fails_for_me(integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'regress_backfill_evil' THEN
        RAISE WARNING 'runs as somebody else';
    ELSIF $1 = 7 THEN
        RAISE EXCEPTION 'call for help';
    END IF;
    RETURN $1;
END
$$;
\set VERBOSITY terse
CALL architect.backfill('mine', set => 'b = backfill_security.fails_for_me(a)', filter => 'b IS NULL', on_error => 'skip');
\set VERBOSITY default
SELECT job AS mine FROM architect.backfill_jobs \gset
RESET ROLE;
SET ROLE regress_backfill_fellow;
SELECT architect.backfill_retry(:mine);
RESET ROLE;
\set VERBOSITY terse
SELECT architect.backfill_retry(:mine);
\set VERBOSITY default
SET ROLE regress_backfill_evil;
SELECT architect.backfill_retry(:mine);

-- Nor does one who begins a job in the background, which is to run as the owner.
CREATE TYPE point_of_mine AS (x integer, y integer);
CREATE FUNCTION same(point_of_mine, point_of_mine) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE WARNING 'runs as somebody else';
    RETURN false;
END
$$;
CREATE OPERATOR = (LEFTARG = point_of_mine, RIGHTARG = point_of_mine, FUNCTION = same);
CREATE TABLE points (id integer PRIMARY KEY, place point_of_mine, at timestamptz);
RESET ROLE;
BEGIN;
SELECT architect.backfill_start('points', set => 'place = ''(1,2)'', at = now()', filter => 'place = ''(1,1)''') > 0 AS started;
ROLLBACK;

-- What a superuser began in his session is not done in the background as himself.
SET SESSION AUTHORIZATION regress_backfill_evil;
UPDATE mine SET b = NULL WHERE id = 7;
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stop here';
END
$$;
CREATE TRIGGER stop BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION stop();
RESET SESSION AUTHORIZATION;
CALL architect.backfill('mine', set => 'b = 7', filter => 'b IS NULL');
SELECT max(job) AS of_superuser FROM architect.backfill_jobs \gset
\set VERBOSITY terse
SELECT architect.backfill_resume(:of_superuser, workers => 1);
\set VERBOSITY default
DROP TRIGGER stop ON mine;

-- A job of somebody else's is as if it was not there.
SET ROLE regress_backfill_victim;
CREATE TABLE theirs (id integer PRIMARY KEY, secret text, a integer);
INSERT INTO theirs VALUES (1, 'a secret', NULL);
CALL architect.backfill('theirs', set => 'a = 1 / (id - 1)', filter => 'a IS NULL AND secret <> ''a known one''');
SELECT max(job) AS theirs FROM architect.backfill_jobs \gset
SET ROLE regress_backfill_evil;
CALL architect.backfill('theirs', set => 'a = 0', filter => 'a IS NULL');
\set VERBOSITY terse
SELECT architect.backfill_pause(:theirs);
SELECT architect.backfill_resume(:theirs, workers => 1);
SELECT architect.backfill_cancel(:theirs);
SELECT architect.backfill_retry(:theirs);
SELECT architect.backfill_configure(:theirs, throttle_query => 'SELECT fails_for_me(0) = 0');
SELECT architect.backfill_estimate('theirs', 'a = 0');
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    RAISE WARNING 'leaked: %', $1;
    RETURN true;
END
$$;
SELECT count(*) FROM architect.backfill_jobs WHERE leak(filter) AND job = :theirs;
SELECT count(*) FROM architect.backfill_progress WHERE leak(target::text) AND job = :theirs;
SELECT count(*) FROM architect.backfill_rejects WHERE leak(message) AND job = :theirs;
SELECT count(*) FROM architect.backfill_events WHERE leak(detail) AND job = :theirs;

-- One who may see everything may steer nothing.
SET ROLE regress_backfill_watcher;
SELECT state, error FROM architect.backfill_jobs WHERE job = :theirs;
SELECT architect.backfill_resume(:theirs, workers => 1);
SELECT architect.backfill_retry(:theirs);

-- What the jobs are made of is for nobody to read or write.
SET ROLE regress_backfill_evil;
SELECT count(*) FROM architect.backfill_register;
UPDATE architect.backfill_register SET owner = 'regress_backfill_victim';
DELETE FROM architect.backfill_log;
SELECT count(*) FROM architect.backfill_parts;
SELECT count(*) FROM architect.backfill_rejected;
SELECT count(*) FROM architect.backfill_workers;
SELECT architect._backfill_line(:theirs);
SELECT architect._backfill_root('theirs');

-- Nobody passes for a job.
SET architect.backfill_job = '1';

-- The search_path of the caller does not change what our own queries mean.
CREATE FUNCTION equals(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'the operator runs as %', current_user;
    RETURN true;
END
$$;
CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = equals);
SET search_path = backfill_security, pg_catalog;
CALL architect.backfill('mine', set => 'b = 0', filter => 'b = 5');
SELECT architect.backfill_retry(:mine);
SELECT architect.backfill_cancel(:mine);
SELECT count(*) FILTER (WHERE b OPERATOR(pg_catalog.=) 0) AS done FROM mine;
RESET search_path;
DROP OPERATOR backfill_security.= (bigint, bigint);

-- A row that is forged in hand harms nobody but the one who forges it.
SELECT architect._backfill_row('(0,1)', '3'), architect._backfill_differs(1, 2), architect._backfill_differs(NULL::text, NULL);

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA backfill_security CASCADE;
DROP ROLE regress_backfill_evil, regress_backfill_victim, regress_backfill_watcher, regress_backfill_fellow;
DROP EXTENSION pg_architect;
