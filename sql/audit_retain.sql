-- How long log rows are kept: the owner of a table says it, audit_maintain does
-- it, by partitions where it can and by rows where it cannot.

\set SHOW_CONTEXT never
CREATE EXTENSION pg_architect;
CREATE ROLE regress_retain_owner;
CREATE ROLE regress_retain_other;
CREATE SCHEMA audit_retain AUTHORIZATION regress_retain_owner;
GRANT USAGE ON SCHEMA audit_retain TO PUBLIC;
SET SESSION AUTHORIZATION regress_retain_owner;
SET search_path = audit_retain;
CREATE TABLE short (id integer PRIMARY KEY);
CREATE TABLE long (id integer PRIMARY KEY);
CREATE TABLE never (id integer PRIMARY KEY);
CREATE TABLE part (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part DEFAULT;
-- fails: there is nothing to keep
SELECT architect.audit_retain('never', '1 year');
-- fails: nor to hold
SELECT architect.audit_hold('never', 'because');
SELECT architect.audit_enable(t) FROM unnest('{short,long,never,part}'::regclass[]) AS t;

-- The policy is one of the table at the top.
-- fails: a partition has no log rows of its own
SELECT architect.audit_retain('part_1', '1 year');
SELECT architect.audit_retain('part', '1 year');
-- fails: no table
SELECT architect.audit_retain(NULL, '1 year');
-- fails: no table
SELECT architect.audit_retain(1, '1 year');
-- fails: nothing would be kept
SELECT architect.audit_retain('short', '0');
-- fails: less than nothing
SELECT architect.audit_retain('short', '-1 year');
-- fails: a year and more days than it has
SELECT architect.audit_retain('short', '1 year -366 days');
-- fails: before time began
SELECT architect.audit_retain('short', '300000 years');
SELECT architect.audit_retain('short', '10 days');
-- Twice changes nothing, and says so; a month is not 30 days.
SELECT architect.audit_retain('short', '240 hours');
SELECT architect.audit_retain('short', '240 hours');
SELECT architect.audit_retain('long', '30 days');
SELECT architect.audit_retain('long', '1 month');
SELECT architect.audit_retain('long', '2 years');
SELECT architect.audit_retain('never', NULL);
SELECT architect.audit_retain('never', '1 year');
SELECT architect.audit_retain('never', NULL);
SELECT table_name, operation, record_id, context FROM architect.audit_log ORDER BY id;

-- Nobody else has a say, and the policies are not for everybody to read.
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_retain_other;
-- fails: not the owner
SELECT architect.audit_retain('audit_retain.never', '1 second');
-- fails: not the owner
SELECT architect.audit_hold('audit_retain.never', 'mine');
-- fails: not the owner
SELECT architect.audit_release('audit_retain.never');
-- fails: private
SELECT architect._audit_retain(1, '1 second');
-- fails: private
SELECT architect._audit_remove();
-- fails: private
SELECT architect._audit_drop_past('{architect.audit_log_default}');
-- fails: not readable
SELECT * FROM architect.audit_retention;
RESET SESSION AUTHORIZATION;

-- What is in the log, by table, and how old it is.
CREATE VIEW audit_retain.contents AS
    SELECT table_name, operation, count(*) AS rows,
           CASE WHEN changed_at < now() - interval '4 years' THEN 'oldest'
                WHEN changed_at < now() - interval '1 year' THEN 'older'
                WHEN changed_at < now() - interval '1 day' THEN 'old'
                ELSE 'new'
           END AS age
    FROM architect.audit_log
    WHERE operation NOT IN ('RETAIN', 'HOLD', 'RELEASE')
    GROUP BY 1, 2, 4
    ORDER BY 1, 2, 4;
-- Partitions whose time has passed.
CREATE VIEW audit_retain.past AS
    SELECT part.relid
    FROM pg_partition_tree('architect.audit_log') AS part
    JOIN pg_class AS class ON class.oid = part.relid
    WHERE substring(pg_get_expr(relpartbound, oid) FROM $$TO \('([^']*)'\)$$)::timestamptz < now() - interval '1 year';
-- Makes what was captured that much older.
CREATE PROCEDURE audit_retain.make_older(by interval) LANGUAGE sql AS $$
    UPDATE architect.audit_log SET changed_at = changed_at - by
    WHERE operation NOT IN ('RETAIN', 'HOLD', 'RELEASE') AND changed_at > now() - interval '1 hour';
$$;
CREATE PROCEDURE audit_retain.fill() LANGUAGE sql AS $$
    TRUNCATE audit_retain.short, audit_retain.long, audit_retain.never;
    INSERT INTO audit_retain.short SELECT generate_series(1, 3);
    INSERT INTO audit_retain.long SELECT generate_series(1, 4);
    INSERT INTO audit_retain.never SELECT generate_series(1, 5);
$$;
SET search_path = audit_retain;

-- Of three tables in one partition, one goes, row by row, also from the default partition.
CALL fill();
CALL make_older('1 year 1 month');
SELECT architect.audit_maintain();
CALL fill();
CALL make_older('11 days');
CALL fill();
SELECT * FROM contents;
SELECT architect.audit_maintain() >= 0 AS maintained;
SELECT * FROM contents;
SELECT table_name, context - 'before' AS context FROM architect.audit_log WHERE context ? 'rows' ORDER BY id;
-- The register knows from where on the history of a table is known.
SELECT registered.relation, registered.removed_before < now() - interval '11 days' AS removed
FROM architect.audit_tables AS registered
ORDER BY 1;
SELECT architect.audit_maintain();

-- A partition goes as a whole when nothing in it is kept any longer, but what the log says of itself stays.
SELECT count(*) AS past FROM past;
SELECT architect.audit_retain('never', '1 year');
INSERT INTO architect.audit_log (id, changed_at, transaction_id, table_id, operation, table_schema, table_name, changed_by)
SELECT 0, changed_at, '3', table_id, 'GAP', table_schema, table_name, changed_by
FROM architect.audit_log
WHERE table_name = 'never' AND changed_at < now() - interval '1 year'
LIMIT 1;
SELECT architect.audit_retain('long', '1 year');
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE table_name <> 'short';
SELECT operation, tableoid::regclass FROM architect.audit_log WHERE operation = 'GAP';
SELECT count(*) AS past FROM past;
SELECT architect.audit_maintain();

-- A hold stops that, for its table and the partitions that it has rows in.
CALL fill();
CALL make_older('5 years');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_retain_owner;
-- fails: why?
SELECT architect.audit_hold('never', NULL);
SELECT architect.audit_set_actor('counsel'), architect.audit_hold('never', 'case 17');
SELECT architect.audit_hold('never', 'case 17');
SELECT architect.audit_hold('never', 'cases 17 and 18');
RESET SESSION AUTHORIZATION;
SELECT table_id, hold, held_by, held_at IS NOT NULL AS dated FROM architect.audit_retention WHERE hold IS NOT NULL;
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';
SELECT architect.audit_release('never');
SELECT architect.audit_release('never');
SELECT table_name, operation, changed_by, context FROM architect.audit_log WHERE operation IN ('HOLD', 'RELEASE') ORDER BY id;
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';

-- Policies outlive the audit of a table, and the table.
CALL fill();
CALL make_older('6 years');
SELECT architect.audit_disable('never');
SELECT architect.audit_hold('long', 'sold');
DROP TABLE long;
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';
UPDATE architect.audit_retention SET hold = NULL, held_by = NULL, held_at = NULL WHERE hold = 'sold';
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';
SELECT table_name, context - 'before' AS context FROM architect.audit_log WHERE context ? 'rows' ORDER BY id DESC LIMIT 2;

-- Rows are removed where all of them can be seen.
INSERT INTO short SELECT generate_series(4, 9);
CALL make_older('7 years');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT architect.audit_maintain();
COMMIT;
SELECT count(*) FROM contents WHERE age = 'oldest';
-- What depends on a partition is not dropped with it, nor in the way of all else.
UPDATE architect.audit_log SET changed_at = '2001-02-03' WHERE changed_at < now() - interval '4 years' AND operation = 'INSERT';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT architect.audit_maintain();
COMMIT;
CREATE VIEW spy AS SELECT FROM architect.audit_log_2001_02;
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';
DROP VIEW spy;
SELECT architect.audit_maintain();
SELECT * FROM contents WHERE age = 'oldest';

-- Capture has gone on, and the log is looked up by index.
DELETE FROM short WHERE id = 9;
SET enable_seqscan = off;
SELECT operation, record_id FROM architect.audit_log WHERE record_id = '9' ORDER BY id;
RESET enable_seqscan;
RESET search_path;

SET client_min_messages = warning;
DROP SCHEMA audit_retain CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_retain_owner, regress_retain_other;
