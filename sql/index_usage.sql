-- What other servers counted: taken in, taken into account, and forgotten.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_usage_owner;
CREATE ROLE regress_usage_other;
CREATE ROLE regress_usage_monitor IN ROLE pg_monitor;
CREATE SCHEMA "Usage";
GRANT ALL ON SCHEMA "Usage" TO PUBLIC;
SET search_path = "Usage";
SET architect.index_unused_after = 0;
CREATE VIEW found AS
    SELECT index::text AS index, regexp_replace(reason, '\d+ days?|as long as is known', 'N days') AS reason, evidence -> 'scans' AS scans,
           evidence ? 'imported_at' AS imported
    FROM architect.index_unused
    WHERE relation::text IN ('mine', 'parts', 'theirs');
GRANT SELECT ON found TO PUBLIC;

SET ROLE regress_usage_other;
CREATE TABLE theirs (a int);
CREATE INDEX theirs_a ON theirs (a);
SET ROLE regress_usage_owner;
CREATE TABLE mine (id int PRIMARY KEY, a int, b int);
CREATE INDEX mine_a ON mine (a);
CREATE INDEX "mine ""B""" ON mine (b);
CREATE TABLE parts (a int, b int) PARTITION BY LIST (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
CREATE INDEX parts_b ON parts (b);
SELECT * FROM found ORDER BY index;

-- One value says all that a server counted.
SELECT jsonb_typeof(usage -> 'stats_since') AS since, jsonb_array_length(usage -> 'indexes') >= 6 AS indexes
FROM architect.index_usage_export() AS usage;
SELECT given - '{last_scan}'::text[] AS given
FROM jsonb_array_elements(architect.index_usage_export() -> 'indexes') AS given
WHERE given ->> 'schema_name' = 'Usage' ORDER BY given ->> 'index_name' COLLATE "C";

-- What is the caller's is taken, by its name; and what another server did not use is not used there.
SELECT architect.index_usage_import('replica 1', '{"stats_since": "2026-01-01T00:00:00+00:00", "indexes": [
    {"schema_name": "Usage", "index_name": "mine_a", "scans": 5, "entries": 50},
    {"schema_name": "Usage", "index_name": "mine \"B\"", "scans": 0, "entries": 0, "last_scan": null},
    {"schema_name": "Usage", "index_name": "parts_2_b_idx", "scans": 7},
    {"schema_name": "Usage", "index_name": "theirs_a", "scans": 3, "entries": 3},
    {"schema_name": "Usage", "index_name": "mine", "scans": 3, "entries": 3},
    {"schema_name": "Usage", "index_name": "nothing", "scans": 3, "entries": 3}]}');
SELECT server, schema_name, index_name, scans, entries, last_scan FROM architect.index_usage ORDER BY index_name COLLATE "C";
SELECT * FROM found ORDER BY index;
RESET ROLE;
SELECT * FROM found ORDER BY index;

-- A later import takes the place of the earlier one, of the caller's own indexes.
SET ROLE regress_usage_other;
SELECT architect.index_usage_import('replica 1', '{"indexes": [
    {"schema_name": "Usage", "index_name": "theirs_a", "scans": 3}, {"schema_name": "Usage", "index_name": "mine_a", "scans": 0}]}');
SET ROLE regress_usage_owner;
SELECT architect.index_usage_import('replica 1', '{"indexes": [
    {"schema_name": "Usage", "index_name": "mine_a", "scans": 0}, {"schema_name": "Usage", "index_name": "mine_a", "scans": 0}]}');
SELECT architect.index_usage_import('Zürich', architect.index_usage_export()) >= 5 AS taken;
SELECT server, index_name, scans FROM architect.index_usage WHERE schema_name = 'Usage' ORDER BY 1, 2;
SELECT * FROM found ORDER BY index;

-- Each forgets what is the own, a monitor all.
SELECT architect.index_usage_forget('replica 1');
SELECT architect.index_usage_forget('nobody');
SET ROLE regress_usage_monitor;
SELECT architect.index_usage_import('replica 1', '{"indexes": [{"schema_name": "Usage", "index_name": "mine_a", "scans": 1},
    {"schema_name": "Usage", "index_name": "theirs_a", "scans": 1}]}');
SELECT architect.index_usage_forget('replica 1');
SELECT architect.index_usage_forget('Zürich') >= 5 AS forgotten;

-- An index that is dropped leaves no more than the next import.
SET ROLE regress_usage_owner;
SELECT architect.index_usage_import('replica 1', architect.index_usage_export()) > 0 AS taken;
DROP INDEX mine_a;
SELECT * FROM found ORDER BY index;
SET ROLE regress_usage_other;
SELECT architect.index_usage_import('replica 1', architect.index_usage_export()) > 0 AS taken;
SELECT index_name FROM architect.index_usage WHERE schema_name = 'Usage' ORDER BY 1;

-- Of many servers a few are named.
SET ROLE regress_usage_owner;
SELECT sum(architect.index_usage_import('replica ' || n, jsonb_build_object('stats_since', '2026-01-01', 'indexes',
           '[{"schema_name": "Usage", "index_name": "mine \"B\"", "scans": 0}]'::jsonb))) AS taken
FROM generate_series(1, 7) AS n;
SELECT * FROM found WHERE index LIKE '%B%';
SELECT sum(architect.index_usage_forget('replica ' || n)) > 0 AS forgotten FROM generate_series(1, 7) AS n;

\set SHOW_CONTEXT never
-- fails: nobody writes what others counted
INSERT INTO architect.index_usage (server, schema_name, index_name, scans, entries) VALUES ('x', 'x', 'x', 1, 1);
SELECT architect._index_note_usage(10, 'x', NULL); -- fails: not for everybody
SELECT architect.index_usage_import('', '{"indexes": []}'); -- fails: no name
SELECT architect.index_usage_import(NULL, '{"indexes": []}'); -- fails: no name
SELECT architect.index_usage_import(repeat('x', 64), '{"indexes": []}'); -- fails: too long a name
SELECT architect.index_usage_import('x', NULL); -- fails: nothing
SELECT architect.index_usage_import('x', '{}'); -- fails: not what the other server gave
SELECT architect.index_usage_import('x', '[1]'); -- fails: likewise
SELECT architect.index_usage_import('x', '{"indexes": [1]}'); -- fails: likewise
SELECT architect.index_usage_import('x', '{"indexes": [{"schema_name": "Usage", "index_name": "theirs_a"}]}'); -- fails: how many?
SELECT architect.index_usage_import('x', '{"indexes": [{"schema_name": "Usage", "index_name": "theirs_a", "scans": -1}]}'); -- fails: less than none
SELECT architect.index_usage_forget(NULL); -- fails: no name
BEGIN READ ONLY;
SELECT architect.index_usage_export() IS NOT NULL AS exported;
SELECT architect.index_usage_import('x', architect.index_usage_export()); -- fails: writes
ROLLBACK;

RESET ROLE;
RESET search_path;
DROP SCHEMA "Usage" CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_usage_owner, regress_usage_other, regress_usage_monitor;
