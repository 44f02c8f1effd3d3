-- Rows that cannot be changed stop the job, or are put aside.

CREATE EXTENSION pg_architect;
CREATE SCHEMA backfill_reject;
SET search_path = backfill_reject;
SET client_min_messages = warning;
CREATE TABLE numbers (
    id integer PRIMARY KEY,
    word text,
    number integer,
    CONSTRAINT numbers_small CHECK (number < 1000000)
);
INSERT INTO numbers SELECT i, i::text FROM generate_series(1, 3000) AS i;
UPDATE numbers SET word = 'one' WHERE id = 77;

-- The first row that cannot be changed stops the job, which can go on when that is mended.
CALL architect.backfill('numbers', set => 'number = word::integer', filter => 'number IS NULL');
SELECT state, error FROM architect.backfill_jobs WHERE target = 'numbers'::regclass;
UPDATE numbers SET word = '77' WHERE id = 77;
CALL architect.backfill('numbers', set => 'number = word::integer', filter => 'number IS NULL');
SELECT count(*) AS done FROM numbers WHERE number = id;
SELECT count(*) AS jobs FROM architect.backfill_jobs WHERE target = 'numbers'::regclass;

-- Or it is put aside, with what was wrong.
UPDATE numbers SET number = NULL, word = CASE WHEN id = 1234 THEN '1000000' WHEN id IN (77, 78, 3000) THEN 'one' ELSE word END;
CALL architect.backfill('numbers', set => 'number = word::integer', filter => 'number IS NULL', on_error => 'skip');
SELECT record_id, sqlstate, message FROM architect.backfill_rejects ORDER BY record_id::integer;
SELECT count(*) AS done, count(*) FILTER (WHERE number = id) AS right FROM numbers WHERE number IS NOT NULL;
SELECT state, count(*) FROM architect.backfill_jobs WHERE target = 'numbers'::regclass GROUP BY 1;
SELECT detail FROM architect.backfill_events ORDER BY at DESC LIMIT 1;

-- When they are mended, they are done.
UPDATE numbers SET word = '78' WHERE id = 78;
DELETE FROM numbers WHERE id = 3000;
SELECT architect.backfill_retry(max(job)) FROM architect.backfill_jobs WHERE target = 'numbers'::regclass;
SELECT record_id, sqlstate FROM architect.backfill_rejects ORDER BY record_id::integer;
SELECT number FROM numbers WHERE id = 78;

-- Too many of them say that the job is wrong.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CALL architect.backfill('numbers', set => 'number = -id / (id % 3)', on_error => 'skip', max_rejects => 5, walk => 'block');
\set VERBOSITY default
SELECT state, error FROM architect.backfill_jobs ORDER BY job DESC LIMIT 1;
SELECT count(*) FROM architect.backfill_rejects WHERE job = (SELECT max(job) FROM architect.backfill_jobs);

-- What was put aside in a batch that was taken back is done when the job goes on, and not once more by a retry.
CREATE TABLE counters (id integer PRIMARY KEY, number integer CHECK (number < 1000));
INSERT INTO counters SELECT i, CASE WHEN i IN (20, 30) THEN 999 ELSE 0 END FROM generate_series(1, 50) AS i;
\set VERBOSITY terse
CALL architect.backfill('counters', set => 'number = number + 1', on_error => 'skip', max_rejects => 1);
\set VERBOSITY default
SELECT record_id FROM architect.backfill_rejects WHERE relation = 'counters'::regclass ORDER BY 1;
UPDATE counters SET number = 0 WHERE id IN (20, 30);
SELECT architect.backfill_retry(max(job)) FROM architect.backfill_jobs;
CALL architect.backfill('counters', set => 'number = number + 1', on_error => 'skip', max_rejects => 1);
SELECT record_id FROM architect.backfill_rejects WHERE relation = 'counters'::regclass ORDER BY 1;
SELECT architect.backfill_retry(max(job)) FROM architect.backfill_jobs;
SELECT number, count(*) FROM counters GROUP BY 1;

-- In key order, with a trigger that fails after the rows are changed.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.id % 500 = 3 THEN
        RAISE EXCEPTION 'not this one: %', new.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON numbers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse();
UPDATE numbers SET word = '0' WHERE word !~ '^\d+$' OR id = 1234;
UPDATE numbers SET number = 0 WHERE id % 500 <> 3;
CALL architect.backfill('numbers', set => 'number = number + 1', on_error => 'skip', walk => 'key');
SELECT record_id, sqlstate, message FROM architect.backfill_rejects
WHERE job = (SELECT max(job) FROM architect.backfill_jobs) ORDER BY record_id::integer;
SELECT count(*) FROM numbers WHERE number = 1 AND id % 500 <> 3;

-- A row is found whatever its condition costs, and where the table is joined.
CREATE FUNCTION cheap(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.001 AS $$
BEGIN
    RETURN 1 / ($1 - 500) IS NOT NULL;
END
$$;
CREATE TABLE words (id integer PRIMARY KEY, number integer);
CREATE TABLE many (id integer);
INSERT INTO words SELECT generate_series(1, 1000);
INSERT INTO many SELECT generate_series(1, 50000);
ANALYZE words, many;
CALL architect.backfill('words', set => 'number = 1', filter => 'cheap(id) AND number IS NULL', on_error => 'skip');
SELECT record_id, sqlstate FROM architect.backfill_rejects WHERE relation = 'words'::regclass;
SELECT count(*) FROM words WHERE number = 1;
CALL architect.backfill('words', set => 'number = 2 / (id - 700)', filter => 'number = 1 AND id IN (SELECT id FROM backfill_reject.many)',
                        on_error => 'skip', allow_subqueries => true);
SELECT record_id, sqlstate FROM architect.backfill_rejects WHERE job = (SELECT max(job) FROM architect.backfill_jobs);
SELECT count(*) FROM words WHERE number = 1;

-- Errors that are not a row's stop the job even so.
CREATE FUNCTION forbidden(integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'not allowed';
END
$$;
CALL architect.backfill('numbers', set => 'number = forbidden(id)', filter => 'number IS NOT NULL', on_error => 'skip', walk => 'key');
SELECT count(*) FROM architect.backfill_rejects WHERE job = (SELECT max(job) FROM architect.backfill_jobs);

DROP SCHEMA backfill_reject CASCADE;
DROP EXTENSION pg_architect;
