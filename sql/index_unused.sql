-- Indexes that no scan uses, and those that are used without a scan.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_unused_owner;
CREATE ROLE regress_unused_other;
CREATE ROLE regress_unused_monitor IN ROLE pg_monitor;
CREATE SCHEMA unused;
GRANT ALL ON SCHEMA unused TO PUBLIC;
SET search_path = unused;
CREATE VIEW found AS
    SELECT relation::text AS relation, index::text AS index, severity, confidence,
           regexp_replace(reason, '\d+ days?|as long as is known', 'N days') AS reason, statement, undo, lock
    FROM architect.index_unused
    WHERE relation::text LIKE 'used%';
GRANT SELECT ON found TO PUBLIC;

SET ROLE regress_unused_owner;
CREATE TABLE used_by (id int PRIMARY KEY, gone int, "Kind" text UNIQUE, at int NOT NULL, span int4range, doc jsonb,
    EXCLUDE USING gist (span WITH &&));
ALTER TABLE used_by DROP gone;
ALTER TABLE used_by SET (autovacuum_enabled = off);
CREATE UNIQUE INDEX used_at ON used_by (at);
ALTER TABLE used_by REPLICA IDENTITY USING INDEX used_at;
CREATE INDEX used_scanned ON used_by (at, id);
CREATE INDEX used_never ON used_by ("Kind", at);
CREATE INDEX "Used ""never""" ON used_by USING gin (doc);
CREATE INDEX used_clustered ON used_by (at, "Kind") WHERE at > 0;
ALTER TABLE used_by CLUSTER ON used_clustered;
CREATE INDEX used_lower ON used_by (lower("Kind"));
INSERT INTO used_by SELECT n, n, n FROM generate_series(1, 100) AS n;
CREATE TABLE used_child (id int PRIMARY KEY, parent int REFERENCES used_by, parent_twice int REFERENCES used_by, note text);
CREATE INDEX used_parent ON used_child (parent);
CREATE INDEX used_parent_note ON used_child (parent, note);
CREATE INDEX used_twice ON used_child (parent_twice);
CREATE INDEX used_note ON used_child (note, parent);
CREATE MATERIALIZED VIEW used_seldom AS SELECT at, id FROM used_by;
CREATE INDEX used_seldom_at ON used_seldom (at);

-- Partitioned: one finding for the whole; a scan of one partition's is a scan.
CREATE TABLE used_parts (a int, b int, c int, d int) PARTITION BY LIST (a);
CREATE TABLE used_parts_1 PARTITION OF used_parts FOR VALUES IN (1);
CREATE TABLE used_parts_2 PARTITION OF used_parts FOR VALUES IN (2);
CREATE INDEX used_parts_b ON used_parts (b);
CREATE INDEX used_parts_c ON used_parts (c);
CREATE INDEX used_parts_1_d ON used_parts_1 (d);
INSERT INTO used_parts SELECT 1, n, n, n FROM generate_series(1, 100) AS n;

-- The counters are too young to tell, and that is said.
SELECT count(*) FROM found;
SELECT findings, undecided > 0 AS undecided, regexp_replace(reason, ' \(\d+\)$', '') AS reason
FROM architect.index_advice_status
WHERE rule = 'unused';

SET enable_seqscan = off;
BEGIN;
ALTER TABLE used_by REPLICA IDENTITY DEFAULT;
DROP INDEX used_at, used_clustered;
SELECT id FROM used_by WHERE at = 5 AND id = 5;
SELECT c FROM used_parts WHERE a = 1 AND c = 5;
ROLLBACK;
RESET enable_seqscan;
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
SET architect.index_unused_after = 0;
SELECT relation, index, severity, confidence, reason FROM found ORDER BY index;
SELECT statement, undo, lock FROM found ORDER BY index;
SELECT evidence ->> 'scans' AS scans, evidence ? 'stats_since' AS stats_since, evidence ? 'index_bytes' AS index_bytes,
       reason ~ ' 0 days' AS none
FROM architect.index_unused
WHERE index = 'used_never'::regclass;
-- What serves a foreign key is in doubt, until another that serves it is scanned.
SELECT findings > 0 AS findings, undecided, reason FROM architect.index_advice_status WHERE rule = 'unused';
SET enable_seqscan = off;
BEGIN;
DROP INDEX used_parent_note;
SELECT id FROM used_child WHERE parent = 5;
ROLLBACK;
RESET enable_seqscan;
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
SELECT index FROM found WHERE relation = 'used_child' ORDER BY index;

-- The owner sees what is the owner's, a monitor all, nobody else anything.
SET ROLE regress_unused_other;
SELECT count(*) FROM found;
SELECT count(*) FROM architect.index_unused WHERE relation::text LIKE 'used%';
SET ROLE regress_unused_monitor;
SELECT count(*) >= 8 AS all FROM architect.index_unused;
RESET ROLE;

-- Run, and undone.
CREATE VIEW shape AS
    SELECT pg_get_indexdef(indexrelid) AS definition, indisclustered, indisreplident
    FROM pg_index
    JOIN pg_class ON oid = indexrelid AND relnamespace = 'unused'::regnamespace;
CREATE FUNCTION try() RETURNS TABLE (index text, gone boolean, new text[], same boolean) LANGUAGE plpgsql AS $function$
DECLARE
    finding record;
    known text[] := ARRAY(SELECT advice.index::text FROM architect.index_find('{unused,duplicate,redundant}') AS advice);
    before text := (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM unused.shape AS s);
BEGIN
    FOR finding IN
        SELECT advice.*, advice.index::text AS name
        FROM architect.index_unused AS advice
        WHERE relation::text LIKE 'used%'
        ORDER BY advice.index::text COLLATE "C"
    LOOP
        EXECUTE replace(finding.statement, ' CONCURRENTLY', '');
        index := finding.name;
        gone := to_regclass(index) IS NULL;
        new := ARRAY(SELECT advice.index::text FROM architect.index_find('{unused,duplicate,redundant}') AS advice
                     WHERE advice.index::text <> ALL (known));
        EXECUTE replace(finding.undo, ' CONCURRENTLY', '');
        same := before = (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM unused.shape AS s);
        RETURN NEXT;
    END LOOP;
END
$function$;
SELECT * FROM try();

-- An index that was not asked for a block when rows were written is younger than them.
CREATE TABLE used_before (a int, b int) WITH (autovacuum_enabled = off);
CREATE INDEX used_before_a ON used_before (a);
INSERT INTO used_before SELECT n, n FROM generate_series(1, 1000) AS n;
CREATE INDEX used_before_b ON used_before (b);
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
SELECT index, reason ~ 'since it was made' AS may_be_young FROM found WHERE relation = 'used_before' ORDER BY index;
DROP TABLE used_before;

-- What is not counted is not judged.
SET track_counts = off;
SELECT count(*) FROM found;
SELECT findings, regexp_replace(reason, ' \(\d+\)$', '') AS reason FROM architect.index_advice_status WHERE rule = 'unused';
RESET track_counts;

-- The setting is a time.
SET architect.index_unused_after = '30d';
SHOW architect.index_unused_after;
SELECT count(*) FROM found;
\set VERBOSITY sqlstate
SET architect.index_unused_after = -1; -- fails: not a time
\set VERBOSITY default
RESET architect.index_unused_after;
SHOW architect.index_unused_after;

RESET search_path;
DROP SCHEMA unused CASCADE;
DROP ROLE regress_unused_owner, regress_unused_other, regress_unused_monitor;
DROP EXTENSION pg_architect;
