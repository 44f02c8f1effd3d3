-- Indexes that no query can use.
CREATE EXTENSION pg_architect;
CREATE SCHEMA ruins;
SET search_path = ruins;
SET client_min_messages = warning;

CREATE VIEW found AS
    SELECT index, severity, columns, reason, statement, undo, lock FROM architect.index_invalid ORDER BY index::text;
CREATE VIEW trees AS
    SELECT pg_get_indexdef(index.indexrelid) AS definition, indisvalid, inhparent::regclass AS parent, conname
    FROM pg_index AS index
    JOIN pg_class ON pg_class.oid = indexrelid
    LEFT JOIN pg_inherits ON inhrelid = indexrelid
    LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u')
    WHERE relnamespace = 'ruins'::regnamespace
    ORDER BY definition;

-- CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY of what is not unique leave something behind.
CREATE TABLE readings (kind int, "At time" int, note text);
INSERT INTO readings SELECT n % 3, n, 'note' FROM generate_series(1, 10) AS n;
CREATE UNIQUE INDEX CONCURRENTLY readings_kind ON readings (kind) INCLUDE ("At time") WHERE note <> '';
REINDEX INDEX CONCURRENTLY readings_kind;
ALTER INDEX readings_kind RENAME TO "readings kind";
CREATE INDEX readings_good ON readings (note);
CREATE INDEX readings_good_ccold ON readings (lower(note));
CREATE INDEX my_ccnews ON readings ("At time");
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'readings_good_ccold'::regclass;
\x
SELECT * FROM found;
\x
SELECT statement FROM found \gexec
SELECT count(*) FROM found;
UPDATE pg_index SET indisvalid = false, indislive = false, indisready = false WHERE indexrelid = 'my_ccnews'::regclass;
SELECT index, reason, (SELECT count(*) FROM architect.index_missing_foreign_key) FROM found;
DROP INDEX my_ccnews;

-- The index of a constraint is built anew.
ALTER TABLE readings ADD UNIQUE ("At time") DEFERRABLE;
UPDATE pg_index SET indisvalid = false WHERE indrelid = 'readings'::regclass AND indisunique;
SELECT index, reason, statement, undo FROM found;
REINDEX INDEX CONCURRENTLY "readings_At time_key";
SELECT count(*) FROM found;

-- How much a large one takes.
CREATE TABLE large (id int, note text) WITH (autovacuum_enabled = off);
INSERT INTO large SELECT n, repeat('x', 100) || n FROM generate_series(1, 10000) AS n;
ANALYZE large;
CREATE INDEX large_note ON large (note);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'large_note'::regclass;
SELECT severity, confidence, benefit_bytes = pg_relation_size('large_note') AS size
FROM architect.index_invalid;
DROP TABLE large, readings;

-- The index of a partitioned table lacks those of partitions.  One of them has it, not attached; one
-- has partitions itself.
CREATE TABLE events (at int NOT NULL, name text NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE "Events 2" PARTITION OF events FOR VALUES FROM (10) TO (20) PARTITION BY LIST (name);
CREATE TABLE events_2_rest PARTITION OF "Events 2" DEFAULT;
CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30);
CREATE INDEX events_name ON ONLY events USING btree (lower(name) DESC, at) WHERE at > 0;
CREATE INDEX events_3_name ON events_3 USING btree (lower(name) DESC, at) WHERE at > 0;
CREATE INDEX events_3_other ON events_3 USING btree (lower(name), at) WHERE at > 0;
CREATE TEMPORARY TABLE before AS SELECT * FROM trees;
\x
SELECT * FROM found;
\x
SELECT statement, undo FROM found \gset tree_
SELECT unnest(string_to_array(:'tree_statement', E'\n')) \gexec
SELECT * FROM found;
SELECT parent, count(*), bool_and(indisvalid) FROM trees GROUP BY parent ORDER BY parent::text;
SELECT unnest(string_to_array(:'tree_undo', E'\n')) \gexec
(TABLE before EXCEPT TABLE trees) UNION ALL (TABLE trees EXCEPT TABLE before);
DROP INDEX events_name, events_3_name, events_3_other;

-- The same of a primary key.
ALTER TABLE ONLY events ADD PRIMARY KEY (at, name);
ALTER TABLE events_3 ADD CONSTRAINT "Key 3" PRIMARY KEY (at, name);
DROP TABLE before;
CREATE TEMPORARY TABLE before AS SELECT * FROM trees;
\x
SELECT * FROM found;
\x
SELECT statement, undo FROM found \gset tree_
SELECT unnest(string_to_array(:'tree_statement', E'\n')) \gexec
SELECT * FROM found;
SELECT parent, count(*), bool_and(indisvalid) FROM trees GROUP BY parent ORDER BY parent::text;
SELECT unnest(string_to_array(:'tree_undo', E'\n')) \gexec
(TABLE before EXCEPT TABLE trees) UNION ALL (TABLE trees EXCEPT TABLE before);
ALTER TABLE events DROP CONSTRAINT events_pkey;

-- One of the partitions' was not valid when it was attached.
CREATE INDEX events_at ON ONLY events (at);
CREATE INDEX events_1_at ON events_1 (at);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_1_at'::regclass;
CREATE INDEX events_2_at ON "Events 2" (at);
CREATE INDEX events_3_at ON events_3 (at);
ALTER INDEX events_at ATTACH PARTITION events_1_at;
ALTER INDEX events_at ATTACH PARTITION events_2_at;
ALTER INDEX events_at ATTACH PARTITION events_3_at;
SELECT index, reason, statement FROM found;
REINDEX INDEX CONCURRENTLY ruins.events_1_at;
SELECT index, reason, statement LIKE 'ALTER INDEX ruins.events_at ATTACH PARTITION ruins.events\__\_at;' AS attaches FROM found;
DROP INDEX events_at;
CREATE INDEX events_at ON ONLY events (at);
DROP TABLE events_1, "Events 2", events_3;
SELECT index, severity, reason, statement FROM found;

DROP SCHEMA ruins CASCADE;
DROP EXTENSION pg_architect;
