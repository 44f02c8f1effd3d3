-- What a backfill will take is estimated from a sample, of which nothing stays.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_estimate_owner;
CREATE ROLE regress_estimate_other;
CREATE SCHEMA backfill_estimate AUTHORIZATION regress_estimate_owner;
GRANT USAGE ON SCHEMA backfill_estimate TO regress_estimate_other;
SET search_path = backfill_estimate;
SET ROLE regress_estimate_owner;

CREATE TABLE accounts (id integer PRIMARY KEY, total numeric(12,2), note text, total_cents bigint);
INSERT INTO accounts SELECT i, i / 100.0, 'account ' || i FROM generate_series(1, 3000) AS i;

-- All pages of a small table are read, so rows and blocks are exact; the rest is about right.
SELECT pg_relation_size('accounts') AS heap, pg_indexes_size('accounts') AS indexes \gset
SELECT rows, blocks = :heap / 8192 AS blocks, seconds BETWEEN 0.001 AND 30 AS seconds,
       wal_bytes BETWEEN 3000 * 80 AND 3000 * 1000 AS wal,
       heap_growth_bytes::numeric / :heap BETWEEN 0.1 AND 0.35 AS heap,
       index_growth_bytes::numeric / :indexes BETWEEN 0 AND 0.5 AS indexes
FROM architect.backfill_estimate('accounts', set => 'total_cents = (total * 100)::bigint', filter => 'total_cents IS NULL');

-- It ends without a trace: no row is changed, and there is no job.
SELECT count(*), count(total_cents) FROM accounts;
SELECT count(*) FROM architect.backfill_jobs;

-- Only rows that match the filter count, and without a filter only rows that would change.
SELECT rows FROM architect.backfill_estimate('accounts', 'total_cents = 1', 'id <= 100');
SELECT rows FROM architect.backfill_estimate('accounts', $$note = 'account 7'$$);
SELECT rows, wal_bytes, heap_growth_bytes, index_growth_bytes
FROM architect.backfill_estimate('accounts', 'total_cents = 1', 'id < 0');

-- Where there is room on the pages, rows stay there; entries of indexes are made where an indexed column is set.
CREATE TABLE airy (LIKE accounts) WITH (fillfactor = 40);
INSERT INTO airy SELECT * FROM accounts;
CREATE INDEX ON airy (note) WITH (fillfactor = 100);
SELECT rows, heap_growth_bytes, index_growth_bytes FROM architect.backfill_estimate('airy', 'total_cents = 1');
SELECT rows, heap_growth_bytes, index_growth_bytes > 0 AS indexes FROM architect.backfill_estimate('airy', 'note = note || ''!''');

-- An unlogged table writes no WAL, an empty one nothing at all.
CREATE UNLOGGED TABLE unlogged AS TABLE accounts;
SELECT rows, wal_bytes FROM architect.backfill_estimate('unlogged', 'total_cents = 1');
CREATE TABLE empty (LIKE accounts);
SELECT * FROM architect.backfill_estimate('empty', 'total_cents = 1');

-- Partitions are added up.
CREATE TABLE parted (LIKE accounts) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
CREATE TABLE parted_3 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT * FROM accounts WHERE id < 2000;
SELECT (pg_relation_size('parted_1') + pg_relation_size('parted_2')) / 8192 AS blocks \gset
SELECT rows, blocks = :blocks AS blocks
FROM architect.backfill_estimate('parted', 'total_cents = 1', 'id >= 500');

-- Users' triggers are called for the rows of the sample, and what they do is rolled back.
CREATE TABLE calls (id integer);
CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO calls VALUES (new.id);
    RETURN NULL;
END $$;
CREATE TRIGGER call AFTER UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION note_call();
SELECT rows FROM architect.backfill_estimate('accounts', 'total_cents = 1');
SELECT count(*) FROM calls;

-- What a row raises is a warning, unless it is raised wherever the sample looks.
\set VERBOSITY terse
SELECT rows FROM architect.backfill_estimate('accounts', 'total_cents = 1 / (id - 1)');
-- fails: division by zero
SELECT * FROM architect.backfill_estimate('accounts', 'total_cents = 1 / (id - id)');
\set VERBOSITY default

-- fails: no such column
SELECT * FROM architect.backfill_estimate('accounts', 'total_cent = 1');
-- fails: nothing is set
SELECT * FROM architect.backfill_estimate('accounts', NULL);
-- fails: no table
SELECT * FROM architect.backfill_estimate(NULL, 'total_cents = 1');
-- fails: a transaction that writes nothing
BEGIN READ ONLY;
SELECT * FROM architect.backfill_estimate('accounts', 'total_cents = 1');
ROLLBACK;

-- It is for the owner of the table.
RESET ROLE;
SET ROLE regress_estimate_other;
-- fails: somebody else's table
SELECT * FROM architect.backfill_estimate('accounts', 'total_cents = 1');

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA backfill_estimate CASCADE;
DROP ROLE regress_estimate_owner, regress_estimate_other;
DROP EXTENSION pg_architect;
