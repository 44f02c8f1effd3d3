-- A record of a partitioned table has one history, under the name of the root,
-- whichever partition it is in and however it is addressed.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_partition_owner;
CREATE SCHEMA audit_partition AUTHORIZATION regress_partition_owner;
SET SESSION AUTHORIZATION regress_partition_owner;
SET search_path = audit_partition;

-- What the log has got since the last look.
CREATE FUNCTION news()
    RETURNS TABLE (table_name text, operation text, record_id text, old_values jsonb, new_values jsonb, context jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('test.seen', true), ''), '0');
BEGIN
    PERFORM set_config('test.seen', max(log.id)::text, false) FROM architect.audit_log AS log;
    RETURN QUERY
        SELECT log.table_name, log.operation, log.record_id, log.old_values, log.new_values, log.context
        FROM architect.audit_log AS log
        WHERE log.id > seen
        ORDER BY log.id;
END
$$;

-- A tree of two levels; the partition p2b has other column numbers than the root.
CREATE TABLE p2b (junk integer, note text, secret text, more text, region text, id integer NOT NULL, noise integer,
                  derived text GENERATED ALWAYS AS (upper(secret)) STORED, kind integer NOT NULL);
ALTER TABLE p2b DROP COLUMN junk, DROP COLUMN more;
CREATE TABLE root (id integer, kind integer, region text, note text, secret text, noise integer,
                   derived text GENERATED ALWAYS AS (upper(secret)) STORED, PRIMARY KEY (id, kind, region)) PARTITION BY LIST (kind);
CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF root FOR VALUES IN (2) PARTITION BY LIST (region);
CREATE TABLE p2a PARTITION OF p2 FOR VALUES IN ('a');
ALTER TABLE p2b ALTER region SET NOT NULL;
ALTER TABLE p2 ATTACH PARTITION p2b FOR VALUES IN ('b');
SELECT architect.audit_enable('root', exclude => '{noise}', mask => '{secret}', condition => 'note <> ''skip''');
SELECT relation, exclude, mask, key, problem FROM architect.audit_status;

-- Through the root, and each partition addressed directly.
INSERT INTO root VALUES (1, 1, 'a', 'n', 's', 0), (2, 2, 'a', 'n', 's', 0), (3, 2, 'b', 'n', 's', 0), (4, 2, 'b', 'skip', 's', 0);
INSERT INTO p1 VALUES (11, 1, 'a', 'direct', 's', 0);
INSERT INTO p2 VALUES (12, 2, 'a', 'direct', 's', 0);
INSERT INTO p2b (id, kind, region, note, secret, noise) VALUES (13, 2, 'b', 'direct', 's', 0);
SELECT table_name, operation, record_id, new_values FROM news();
UPDATE root SET noise = 1;
UPDATE root SET note = 'changed' WHERE id = 3;
UPDATE p2b SET secret = 'changed', noise = 2 WHERE id = 13;
UPDATE p2b SET note = 'skip' WHERE id = 13;
DELETE FROM p2 WHERE id IN (12, 13);
SELECT table_name, operation, record_id, old_values, new_values FROM news();

-- A row that moves leaves one partition and comes to another: both of them under its keys.
UPDATE root SET kind = 2 WHERE id = 1;
UPDATE root SET region = 'b', note = 'moved' WHERE id = 2;
UPDATE p2 SET region = 'a' WHERE id = 2;
SELECT table_name, operation, record_id, old_values, new_values FROM news();
MERGE INTO root USING (VALUES (11)) AS source (id) ON root.id = source.id WHEN MATCHED THEN UPDATE SET kind = 2, region = 'b';
INSERT INTO root VALUES (11, 2, 'b', 'x', 's', 0) ON CONFLICT (id, kind, region) DO UPDATE SET note = 'upserted';
SELECT operation, record_id, old_values ->> 'note' AS old_note, new_values ->> 'note' AS new_note FROM news();

-- COPY into the root.
COPY root (id, kind, region, note) FROM STDIN;
20	1	a	copied
21	2	b	copied
22	2	b	skip
\.
SELECT operation, record_id, new_values ->> 'note' AS note FROM news();

-- The key of the root counts, even where a partition has another one.
ALTER TABLE p1 ADD UNIQUE (id);
UPDATE p1 SET note = 'keyed' WHERE id = 20;
SELECT record_id FROM news();

-- Other ways to cut: by range and hash, with a default; names follow the root's.
CREATE TABLE measure (at date, sensor integer, value numeric, PRIMARY KEY (sensor, at)) PARTITION BY RANGE (at);
CREATE TABLE measure_old PARTITION OF measure FOR VALUES FROM (MINVALUE) TO ('2020-01-01') PARTITION BY HASH (sensor);
CREATE TABLE measure_old_0 PARTITION OF measure_old FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measure_old_1 PARTITION OF measure_old FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE measure_rest PARTITION OF measure DEFAULT;
SELECT architect.audit_enable('measure', capture => 'keys');
INSERT INTO measure SELECT date '2019-12-28' + n, n, n FROM generate_series(1, 8) AS n;
UPDATE measure SET at = at + 4;
SELECT operation, count(*), count(DISTINCT record_id) AS records FROM news() GROUP BY operation ORDER BY operation COLLATE "C";
ALTER TABLE measure RENAME TO measurement;
UPDATE measure_old_0 SET value = 0;
UPDATE measure_old_1 SET value = 0;
UPDATE measure_rest SET value = 0;
SELECT table_name, operation, count(*) FROM news() GROUP BY 1, 2;

-- Disabled for the root, it is for all.
SELECT architect.audit_disable('root');
INSERT INTO root VALUES (30, 2, 'b', 'n', 's', 0);
TRUNCATE root, p2b;
SELECT * FROM news();
SELECT count(*) AS triggers FROM pg_trigger WHERE tgname LIKE 'architect%' AND tgrelid IN (SELECT relid FROM pg_partition_tree('root'));

-- Of inherited tables only the one that is named is audited, and that is said.
CREATE TABLE parent (id integer PRIMARY KEY, a integer);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
SELECT architect.audit_enable('parent');
INSERT INTO parent VALUES (1, 1);
INSERT INTO child VALUES (2, 1);
UPDATE parent SET a = 2;
TRUNCATE parent;
SELECT table_name, operation, record_id, old_values, new_values FROM news();
-- Asked again, nothing is new.
SELECT architect.audit_enable('parent');
SELECT architect.audit_enable('child');
INSERT INTO child VALUES (3, 1);
UPDATE parent SET a = 3;
DELETE FROM parent;
SELECT table_name, operation, record_id, old_values, new_values FROM news();

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_partition CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_partition_owner;
