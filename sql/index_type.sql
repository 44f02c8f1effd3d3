-- Indexes of a kind that does not suit their column; partitions that are not logged.
CREATE EXTENSION pg_architect;
CREATE SCHEMA kinds;
SET search_path = kinds;
SET client_min_messages = warning;

CREATE VIEW found AS
    SELECT relation, index, severity, confidence, columns, reason, statement, undo, lock
    FROM architect.index_unlogged_or_wrong_type ORDER BY relation::text, index::text;

-- Btree indexes on what is searched by its parts, and near misses: unique ones, constraints, other
-- columns first, types that they suit, kinds of index that suit them.
CREATE DOMAIN tags AS text[];
CREATE TABLE things (id int PRIMARY KEY, doc jsonb, "Tag list" tags, vector tsvector, span int4range, spans int4multirange, name text,
    number numeric, bytes bytea, fixed char(3), point point) WITH (autovacuum_enabled = off);
CREATE INDEX things_doc ON things (doc);
CREATE INDEX things_field ON things ((doc -> 'a')) WHERE doc IS NOT NULL;
CREATE INDEX things_tags ON things ("Tag list" DESC, id);
CREATE INDEX things_vector ON things (vector);
CREATE INDEX things_span ON things (span) INCLUDE (name);
CREATE INDEX things_spans ON things (spans);
CREATE UNIQUE INDEX ON things (doc);
ALTER TABLE things ADD UNIQUE (span), ADD EXCLUDE (vector WITH =);
CREATE INDEX ON things (name, "Tag list");
CREATE INDEX ON things ((doc ->> 'a'));
CREATE INDEX ON things (number);
CREATE INDEX ON things (bytes);
CREATE INDEX ON things (fixed);
CREATE INDEX ON things USING gin (doc);
CREATE INDEX ON things USING gin ("Tag list");
CREATE INDEX ON things USING gist (span);
CREATE INDEX ON things USING gist (point);
CREATE INDEX ON things USING hash ("Tag list");
SELECT index, severity, confidence, reason, statement FROM found;
\x
SELECT undo, lock FROM found WHERE index = 'things_field'::regclass;
\x
-- One that was searched is of use.
SET enable_seqscan = off;
SELECT count(*) FROM things WHERE spans = '{}';
SELECT pg_stat_force_next_flush();
SELECT index FROM found;
-- One that supports a foreign key is too.
CREATE TABLE others (doc jsonb REFERENCES things (doc));
CREATE INDEX ON others (doc);
SELECT index FROM found;
DROP TABLE others, things;
RESET enable_seqscan;

-- Of a partitioned table the whole is found.
CREATE TABLE parts (at int, doc jsonb) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
CREATE INDEX parts_doc ON parts (doc);
SELECT relation, index, statement FROM found;
-- How many rows it has is not known.
SELECT evidence ? 'table_rows' AS rows FROM architect.index_unlogged_or_wrong_type;
DROP INDEX parts_doc;
CREATE INDEX part_1_doc ON part_1 (doc);
SELECT relation, index, statement FROM found;
DROP TABLE parts;

-- Entries that come near to the length at which an INSERT fails.
CREATE TABLE long (id int, note text, short text) WITH (autovacuum_enabled = off);
ALTER TABLE long ALTER note SET STORAGE EXTERNAL;
INSERT INTO long SELECT n, string_agg(md5(n::text || part), ''), 'short'
FROM generate_series(1, 2000) AS n, generate_series(1, 50) AS part GROUP BY n;
CREATE INDEX long_note ON long (id, note);
CREATE INDEX long_short ON long (short);
CREATE INDEX long_hash ON long USING hash (note);
ANALYZE long;
SELECT index, severity, confidence, evidence ->> 'values_width' AS width, statement
FROM architect.index_unlogged_or_wrong_type;
DROP TABLE long;

-- A hash index on few values.
CREATE TABLE many (kind int, id int, "odd Kind" text) WITH (autovacuum_enabled = off);
INSERT INTO many SELECT n % 2, n, CASE WHEN n % 3 > 0 THEN 'x' ELSE 'y' END FROM generate_series(1, 60000) AS n;
CREATE INDEX many_kind ON many USING hash ("odd Kind");
CREATE INDEX many_some ON many USING hash (kind) WHERE id < 100;
CREATE INDEX many_id ON many USING hash (id);
CREATE INDEX many_btree ON many (kind);
ANALYZE many;
\x
SELECT * FROM found;
\x
DROP TABLE many;

-- A GiST index for text search that is read more than it is written.
CREATE TABLE texts (id int, vector tsvector);
CREATE INDEX texts_vector ON texts USING gist (vector);
SELECT count(*) FROM found;
SET enable_seqscan = off;
SELECT count(*) FROM texts WHERE vector @@ 'a';
RESET enable_seqscan;
SELECT pg_stat_force_next_flush();
SELECT index, severity, confidence, statement, undo FROM found;
DROP TABLE texts;

-- Partitions that are not logged among some that are.
CREATE UNLOGGED TABLE alone (id int PRIMARY KEY);
CREATE TABLE parts (at int PRIMARY KEY) PARTITION BY RANGE (at);
CREATE UNLOGGED TABLE "Part 1" PARTITION OF parts FOR VALUES FROM (0) TO (10);
SELECT relation FROM found;
CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
SELECT relation, severity, confidence, columns, reason, statement, undo FROM found;
ALTER TABLE kinds."Part 1" SET LOGGED;
SELECT relation FROM found;

DROP SCHEMA kinds CASCADE;
DROP EXTENSION pg_architect;
