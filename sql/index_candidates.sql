-- Partial indexes, as far as statistics alone tell.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA candidates;
SET search_path = candidates;
CREATE ROLE regress_candidates_owner;
GRANT USAGE ON SCHEMA candidates TO regress_candidates_owner;

-- Every 100th row is what one looks for.
CREATE TYPE mood AS ENUM ('fine', 'ill');
CREATE TABLE peer (id integer PRIMARY KEY);
INSERT INTO peer VALUES (1), (2);
CREATE TABLE "Thing" (gone integer, id integer PRIMARY KEY, "Parent" integer, status text NOT NULL, number integer, done boolean, mood mood,
    few integer, many integer, peer integer REFERENCES peer, tags integer[], code text UNIQUE)
    WITH (autovacuum_enabled = off);
ALTER TABLE "Thing" DROP gone;
INSERT INTO "Thing"
    SELECT i, CASE WHEN i % 100 = 0 THEN i END, CASE WHEN i % 100 = 0 THEN 'it''s new' ELSE 'it''s done' END,
           CASE WHEN i % 100 = 0 THEN 2 ELSE 1 END, i % 100 <> 0, CASE WHEN i % 100 = 0 THEN 'ill' ELSE 'fine' END::mood,
           CASE WHEN i % 4 = 0 THEN i END, CASE WHEN i % 100 = 0 THEN i ELSE 1 END, CASE WHEN i % 100 = 0 THEN 2 ELSE 1 END,
           CASE WHEN i % 100 = 0 THEN ARRAY[i] END, CASE WHEN i % 100 = 0 THEN i::text END
    FROM generate_series(1, 180000) AS i;
SELECT pg_stat_force_next_flush();

-- To be found: nearly all keys are NULL, or one value.
CREATE INDEX "by Parent" ON "Thing" ("Parent");
CREATE INDEX by_parent_and_id ON "Thing" USING btree ("Parent" DESC NULLS LAST, id) INCLUDE (number) WITH (fillfactor = 80);
CREATE INDEX by_code ON "Thing" (code text_pattern_ops, status COLLATE "C");
CREATE INDEX by_status ON "Thing" (status);
CREATE INDEX by_number ON "Thing" (number);
CREATE INDEX by_done ON "Thing" (done);
CREATE INDEX by_mood ON "Thing" (mood);
COMMENT ON INDEX by_mood IS 'of the mood';

-- Not to be found: too few are NULL, too many values, a second key, the key of a foreign key, which the server looks for
-- itself; partial already; no entries for NULL; a constraint; the clustered one; an expression.
CREATE INDEX by_few ON "Thing" (few);
CREATE INDEX by_many ON "Thing" (many);
CREATE INDEX by_status_and_id ON "Thing" (status, id);
CREATE INDEX by_peer ON "Thing" (peer);
CREATE INDEX by_some_parents ON "Thing" ("Parent") WHERE id > 0;
CREATE INDEX by_tags ON "Thing" USING gin (tags);
CREATE INDEX by_parent_hash ON "Thing" USING hash ("Parent");
CREATE UNIQUE INDEX by_unique_parent ON "Thing" ("Parent");
CREATE INDEX by_clustered ON "Thing" ("Parent", done);
ALTER TABLE "Thing" CLUSTER ON by_clustered;
CREATE INDEX by_expression ON "Thing" (abs("Parent"));
CREATE TABLE small (a integer);
CREATE INDEX ON small (a);
INSERT INTO small SELECT NULL FROM generate_series(1, 1000);

-- Before ANALYZE nothing is known.
CREATE VIEW found AS
    SELECT index, columns, severity, confidence, regexp_replace(reason, '\d+\.\d+', 'N') AS reason, benefit_bytes, statement, undo, lock
    FROM architect.index_partial_candidate WHERE relation::text ~ 'Thing|part|small';
VACUUM "Thing", small;
SELECT index FROM found;
ANALYZE "Thing", small;
SELECT index, columns, severity, confidence, reason, benefit_bytes BETWEEN 1000000 AND 10000000 AS fits FROM found ORDER BY index::text COLLATE "C";
SELECT statement, undo, lock FROM found WHERE index IN ('"by Parent"'::regclass, 'by_parent_and_id'::regclass, 'by_code'::regclass)
ORDER BY index::text COLLATE "C" \gx
SELECT findings > 0 AS found, reason ~ 'pg_stat_statements' AS says_why FROM architect.index_advice_status WHERE rule = 'partial_candidate';

-- Who may not read the table sees no statistics.
ALTER TABLE "Thing" OWNER TO regress_candidates_owner;
REVOKE SELECT ON "Thing" FROM regress_candidates_owner;
SET ROLE regress_candidates_owner;
SELECT count(*) FROM architect.index_partial_candidate;
SELECT reason ~ 'a column has no statistics, or they may not be read' AS says_why
FROM architect.index_advice_status WHERE rule = 'partial_candidate';
RESET ROLE;
GRANT SELECT ON "Thing" TO regress_candidates_owner;
SET ROLE regress_candidates_owner;
SELECT count(*) FROM architect.index_partial_candidate;
RESET ROLE;

-- The statements do what is said, and can be undone.
CREATE VIEW definitions AS
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition, obj_description(indexrelid) AS comment
    FROM pg_index WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'candidates'::regnamespace);
CREATE TABLE before AS SELECT * FROM definitions;
CREATE TABLE todo AS SELECT statement, undo, benefit_bytes, index::text AS name, pg_relation_size(index) AS size FROM found;
\set ECHO none
SELECT line FROM todo, string_to_table(statement, E'\n') AS line \gexec
\set ECHO all
SELECT name FROM todo WHERE to_regclass(name) IS NOT NULL;
SELECT index FROM found;
-- What was said of the bytes is true within a tenth.
SELECT name FROM todo, LATERAL (SELECT regexp_replace(statement, '.*CONCURRENTLY (\S+) ON .*DROP.*', '\1') AS made) AS new
WHERE abs((size - pg_relation_size(made::regclass)) / benefit_bytes::float8 - 1) > 0.1;
\set ECHO none
SELECT line FROM todo, string_to_table(undo, E'\n') AS line \gexec
\set ECHO all
SELECT * FROM definitions EXCEPT SELECT * FROM before;
SELECT * FROM before EXCEPT SELECT * FROM definitions;

-- A partitioned table is one finding.
CREATE TABLE part (id integer, parent integer) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100000) WITH (autovacuum_enabled = off);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100000) TO (200000) WITH (autovacuum_enabled = off);
INSERT INTO part SELECT i FROM generate_series(1, 199999) AS i;
SELECT pg_stat_force_next_flush();
CREATE INDEX part_by_parent ON part (parent);
ANALYZE part;
TRUNCATE before;
INSERT INTO before SELECT * FROM definitions;
SELECT index, columns, statement, undo, lock FROM found WHERE index::text ~ 'part' \gx
CREATE TABLE again AS SELECT statement, undo FROM found WHERE index::text ~ 'part';
\set ECHO none
SELECT line FROM again, string_to_table(statement, E'\n') AS line \gexec
\set ECHO all
SELECT count(*) FROM found WHERE index::text ~ 'part';
SELECT indexrelid::regclass, indisvalid, pg_get_expr(indpred, indrelid) FROM pg_index WHERE indrelid::regclass::text ~ '^part' ORDER BY 1;
\set ECHO none
SELECT line FROM again, string_to_table(undo, E'\n') AS line \gexec
\set ECHO all
SELECT * FROM definitions EXCEPT SELECT * FROM before;
SELECT * FROM before EXCEPT SELECT * FROM definitions;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA candidates CASCADE;
DROP ROLE regress_candidates_owner;
DROP EXTENSION pg_architect;
