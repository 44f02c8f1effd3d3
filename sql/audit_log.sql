-- The log itself: what stands in it, in which order, in which partition, and
-- what an administrator may hang on it.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_log_owner;
CREATE SCHEMA audit_log AUTHORIZATION regress_log_owner;
SET SESSION AUTHORIZATION regress_log_owner;
CREATE TABLE audit_log.item (id serial PRIMARY KEY, n integer);
CREATE TABLE audit_log.note (id integer PRIMARY KEY, t text);
SELECT architect.audit_enable('audit_log.item'), architect.audit_enable('audit_log.note');
RESET SESSION AUTHORIZATION;

-- The columns of the common recipe, under their names, and ours.
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull
FROM pg_attribute
WHERE attrelid = 'architect.audit_log'::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;
-- There are partitions for the time to come, and one for all other times.
SELECT count(*) FILTER (WHERE pg_get_expr(relpartbound, oid) = 'DEFAULT') AS "default",
       count(*) FILTER (WHERE pg_get_expr(relpartbound, oid) LIKE 'FOR VALUES FROM%') AS months
FROM pg_partition_tree('architect.audit_log') JOIN pg_class ON oid = relid WHERE isleaf;
SELECT architect.audit_maintain();

-- Time and transaction are those of the change.
BEGIN;
SELECT clock_timestamp() AS before \gset
INSERT INTO audit_log.item (n) VALUES (1);
SELECT clock_timestamp() AS between \gset
UPDATE audit_log.item SET n = 2;
SAVEPOINT a;
UPDATE audit_log.item SET n = 3;
SELECT clock_timestamp() AS after \gset
SELECT operation, changed_at BETWEEN :'before' AND :'between' AS first, changed_at BETWEEN :'between' AND :'after' AS later,
       transaction_id = pg_current_xact_id() AS this_transaction
FROM architect.audit_log
ORDER BY id;
COMMIT;
SELECT count(*) AS in_the_partition_of_now FROM architect.audit_log WHERE tableoid <> 'architect.audit_log_default'::regclass;

-- A session's own sequences are left alone.
SELECT lastval(), currval('audit_log.item_id_seq');
INSERT INTO audit_log.item (n) SELECT 0 FROM generate_series(1, 2000);
SELECT lastval();
SET SESSION AUTHORIZATION regress_log_owner;
INSERT INTO audit_log.item (n) VALUES (1) RETURNING id;
SELECT lastval();
RESET SESSION AUTHORIZATION;
DISCARD SEQUENCES;
INSERT INTO audit_log.note VALUES (1);
-- fails: the session has used no sequence
SELECT lastval();
SELECT count(DISTINCT id) = count(*) AS distinct_ids FROM architect.audit_log;

-- Without a partition for now, rows go to the default one, and later to the one that is made.
CREATE FUNCTION audit_log.drop_partitions() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    part regclass;
    dropped integer := 0;
BEGIN
    FOR part IN
        SELECT inhrelid FROM pg_inherits
        WHERE inhparent = 'architect.audit_log'::regclass AND inhrelid <> 'architect.audit_log_default'::regclass
    LOOP
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
SELECT audit_log.drop_partitions();
INSERT INTO audit_log.note VALUES (2, 'in default');
SELECT tableoid::regclass, record_id FROM architect.audit_log;
SELECT architect.audit_maintain();
SELECT tableoid = 'architect.audit_log_default'::regclass AS in_default, record_id FROM architect.audit_log;
INSERT INTO audit_log.note VALUES (3, 'in its place');
SELECT count(*) FROM ONLY architect.audit_log_default;
SELECT architect.audit_maintain();
-- By days and by weeks, whatever the session's settings for time are; old partitions stay as they are.
SELECT audit_log.drop_partitions();
SET architect.audit_partition = 'day';
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SELECT architect.audit_maintain();
SELECT architect.audit_maintain();
SET TimeZone = 'America/St_Johns';
SET DateStyle = 'SQL, DMY';
SELECT architect.audit_maintain();
SET architect.audit_partition = 'week';
SELECT architect.audit_maintain() > 0 AS made;
RESET ALL;
SELECT architect.audit_maintain() > 0 AS made;
SELECT count(*) AS wrong_bounds
FROM pg_inherits
CROSS JOIN LATERAL (SELECT substring(pg_get_expr(relpartbound, oid) FROM $$FROM \('([^']*)'\)$$)::timestamptz AS lower
                    FROM pg_class WHERE oid = inhrelid) AS bound
WHERE inhparent = 'architect.audit_log'::regclass AND lower AT TIME ZONE 'UTC' <> date_trunc('day', lower AT TIME ZONE 'UTC');
INSERT INTO audit_log.note VALUES (4, 'today');
SELECT tableoid = 'architect.audit_log_default'::regclass AS in_default FROM architect.audit_log WHERE record_id = '4';
-- fails: no such word
SET architect.audit_partition = 'hour';

-- A partition that is detached, and a log without any, are no reason to lose a row.
DO $$
BEGIN
    EXECUTE format('ALTER TABLE architect.audit_log DETACH PARTITION %s',
                   (SELECT tableoid::regclass FROM architect.audit_log WHERE record_id = '4'));
END
$$;
INSERT INTO audit_log.note VALUES (5, 'in default');
SELECT record_id FROM architect.audit_log WHERE record_id IN ('4', '5');

-- The log can be vacuumed, reindexed and emptied by its owner, beside sessions that write it.
VACUUM FULL architect.audit_log;
INSERT INTO audit_log.note VALUES (100);
REINDEX TABLE architect.audit_log;
INSERT INTO audit_log.note VALUES (101);
SET enable_seqscan = off;
SELECT record_id FROM architect.audit_log WHERE record_id IN ('100', '101') ORDER BY id;
RESET enable_seqscan;
TRUNCATE architect.audit_log;
INSERT INTO audit_log.note VALUES (102);

-- Where all tables are published, the log is too, and stays usable.
SET client_min_messages = error;
CREATE PUBLICATION regress_log_publication FOR ALL TABLES;
RESET client_min_messages;
SELECT architect.audit_maintain() > 0 AS made;
INSERT INTO audit_log.note VALUES (103);
SELECT record_id, tableoid = 'architect.audit_log_default'::regclass AS in_default FROM architect.audit_log ORDER BY id;
SELECT audit_log.drop_partitions() > 0 AS dropped;
DROP PUBLICATION regress_log_publication;

-- An index and a constraint of the administrator are served, and his trigger is none of ours.
CREATE FUNCTION audit_log.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the trigger'; END $$;
ALTER TABLE architect.audit_log ADD CONSTRAINT no_six CHECK (record_id <> '6');
CREATE INDEX by_value ON architect.audit_log ((new_values ->> 't')) WHERE operation = 'INSERT';
CREATE INDEX by_values ON architect.audit_log USING gin (new_values);
CREATE TRIGGER none AFTER INSERT OR UPDATE ON architect.audit_log FOR EACH ROW EXECUTE FUNCTION audit_log.refuse();
CREATE UNIQUE INDEX by_record ON architect.audit_log_default (record_id, table_id, (new_values ->> 't'));
\set VERBOSITY terse
-- fails: the constraint
INSERT INTO audit_log.note VALUES (6, 'refused');
INSERT INTO audit_log.note VALUES (7, 'found');
-- fails: the unique index
UPDATE audit_log.note SET t = 'lost' WHERE id = 7;
UPDATE audit_log.note SET t = 'found' WHERE id = 7;
\set VERBOSITY default
DO $$
BEGIN
    BEGIN
        INSERT INTO audit_log.note SELECT n, 'many' FROM generate_series(1500, 3000) AS n;
        INSERT INTO audit_log.note SELECT n, 'many' FROM generate_series(3001, 5500) AS n UNION ALL SELECT 6, 'many';
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE 'caught %', SQLSTATE;
    END;
    INSERT INTO audit_log.note VALUES (8, 'after an error');
END
$$;
SET enable_seqscan = off;
SELECT operation, record_id FROM architect.audit_log WHERE new_values ->> 't' = 'found' AND operation = 'INSERT';
SELECT operation, record_id FROM architect.audit_log WHERE new_values @> '{"t": "after an error"}';
SELECT operation FROM architect.audit_log WHERE record_id = '8'
  AND table_id = (SELECT table_id FROM architect.audit_tables WHERE relation = 'audit_log.note'::regclass);
RESET enable_seqscan;
SELECT count(*) AS lost FROM audit_log.note
WHERE (id = 8 OR id > 1000) AND NOT EXISTS (SELECT FROM architect.audit_log WHERE record_id = note.id::text);
-- Columns are the log's own, no more and no less.
ALTER TABLE architect.audit_log ADD COLUMN extra text;
-- fails: there is one too many
INSERT INTO audit_log.note VALUES (9);
ALTER TABLE architect.audit_log DROP COLUMN extra;
INSERT INTO audit_log.note VALUES (9);
ALTER TABLE architect.audit_log DROP COLUMN context;
-- fails: there is one too few
INSERT INTO audit_log.note VALUES (10);

-- Dropped by hand, the log is missed, and made anew by the next audit_enable.
DROP TABLE architect.audit_log;
-- fails: there is no log
INSERT INTO audit_log.note VALUES (11);
SELECT relation, problem FROM architect.audit_status ORDER BY table_id;
SELECT architect.audit_enable('audit_log.note');
INSERT INTO audit_log.note VALUES (12);
INSERT INTO audit_log.item (n) VALUES (12);
SELECT table_name, operation FROM architect.audit_log ORDER BY id;
SELECT relation, problem FROM architect.audit_status ORDER BY table_id;

SET client_min_messages = warning;
DROP SCHEMA audit_log CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_log_owner;
