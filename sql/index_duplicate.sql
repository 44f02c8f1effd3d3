-- Indexes that do the same: which of them is to be dropped, and what only looks the same.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA dup;
SET search_path = dup;
CREATE VIEW found AS
    SELECT relation::text AS relation, index::text AS index, severity, confidence, reason, statement
    FROM architect.index_duplicate
    WHERE relation::text <> 'shop';
CREATE VIEW shape AS
    SELECT pg_get_indexdef(index.indexrelid) AS definition, index.indisclustered, index.indisreplident,
           pg_get_constraintdef(con.oid) AS constraint, con.conname, obj_description(index.indexrelid, 'pg_class') AS comment
    FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid AND class.relnamespace = 'dup'::regnamespace
    LEFT JOIN pg_constraint AS con ON con.conindid = index.indexrelid AND con.contype <> 'f';
-- Runs the statement of each finding, and undoes it: the finding is gone, none is new, and all is as before.
CREATE FUNCTION try() RETURNS TABLE (index text, gone boolean, new text[], same boolean) LANGUAGE plpgsql AS $function$
DECLARE
    finding record;
    known text[] := ARRAY(SELECT advice.index::text FROM architect.index_find('{duplicate,redundant}') AS advice);
    before text := (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM dup.shape AS s);
BEGIN
    FOR finding IN
        SELECT advice.*, advice.index::text AS name
        FROM architect.index_duplicate AS advice
        WHERE statement IS NOT NULL
        ORDER BY 1, advice.index::text COLLATE "C"
    LOOP
        EXECUTE replace(finding.statement, ' CONCURRENTLY', '');
        index := finding.name;
        gone := to_regclass(index) IS NULL;
        new := ARRAY(SELECT advice.index::text FROM architect.index_find('{duplicate,redundant}') AS advice
                     WHERE advice.index::text <> ALL (known));
        EXECUTE replace(finding.undo, ' CONCURRENTLY', '');
        same := before = (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM dup.shape AS s);
        RETURN NEXT;
    END LOOP;
END
$function$;

-- What is kept: the primary key, a constraint, the unique one, the clustered one, the one used more, the older one.
CREATE TABLE kept (id int PRIMARY KEY, gone int, a int, b int UNIQUE, c int, d int, e text, f int);
ALTER TABLE kept DROP gone;
CREATE INDEX kept_id ON kept (id);
CREATE UNIQUE INDEX kept_id_unique ON kept (id);
CREATE UNIQUE INDEX kept_b ON kept (b);
CREATE INDEX kept_a_plain ON kept (a);
CREATE UNIQUE INDEX kept_a ON kept (a);
CREATE INDEX kept_c_older ON kept (c);
CREATE INDEX kept_c ON kept (c);
CREATE INDEX kept_c_backward ON kept (c DESC);
CREATE INDEX kept_d_older ON kept (d, e);
CREATE INDEX "kept ""D""" ON kept (d, e);
ALTER TABLE kept CLUSTER ON "kept ""D""";
COMMENT ON INDEX kept_d_older IS 'a comment';
SELECT index, reason, statement FROM found ORDER BY index;
-- The mark moves when the constraint is kept.
ALTER TABLE kept CLUSTER ON kept_b;
SELECT index, statement FROM found WHERE index IN ('kept_b', 'kept_d_older', '"kept ""D"""') ORDER BY index;
SELECT * FROM try();
INSERT INTO kept SELECT n, n, n, n, n, 'e', n FROM generate_series(1, 10) AS n;
ALTER TABLE kept SET (autovacuum_enabled = off);
DROP INDEX kept_c_older, kept_c_backward;
CREATE INDEX kept_c_newer ON kept (c);
SET enable_seqscan = off;
BEGIN;
DROP INDEX kept_c;
SELECT count(*) FROM kept WHERE c = 5;
ROLLBACK;
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
RESET enable_seqscan;
SELECT index, reason FROM found WHERE index LIKE 'kept_c%';
DROP TABLE kept;

-- Nothing of these is the same.
CREATE TABLE near (a int, b int, c text, d text COLLATE "C", e text COLLATE "POSIX", f int[], g int4range, gone int);
ALTER TABLE near DROP gone;
CREATE INDEX ON near (a);
CREATE INDEX ON near (a NULLS FIRST);
CREATE INDEX ON near (a DESC NULLS LAST) WHERE a > 0;
CREATE INDEX ON near (a) WHERE b > 0;
CREATE INDEX ON near (a) WHERE b > 1;
CREATE INDEX ON near (b, a DESC);
CREATE INDEX ON near (b, a);
CREATE INDEX ON near (c);
CREATE INDEX ON near (c text_pattern_ops);
CREATE INDEX ON near (c COLLATE "C");
CREATE INDEX ON near (lower(c));
CREATE INDEX ON near (upper(c));
CREATE INDEX ON near (lower(d));
CREATE INDEX ON near ((a + 1));
CREATE INDEX ON near ((a + 2));
CREATE INDEX ON near ((b + 1));
CREATE INDEX ON near USING hash (c);
CREATE INDEX ON near USING hash (c COLLATE "C");
CREATE INDEX ON near USING brin (a) WITH (pages_per_range = 8);
CREATE INDEX ON near USING brin (a) WITH (pages_per_range = 16);
CREATE INDEX ON near USING brin (a int4_minmax_multi_ops) WITH (pages_per_range = 8);
CREATE INDEX ON near USING gin (f);
CREATE INDEX ON near USING gist (g);
CREATE INDEX ON near USING spgist (g);
CREATE TEMPORARY TABLE passing (a int);
CREATE INDEX ON passing (a);
CREATE INDEX ON passing (a);
SELECT index, reason FROM found;
DROP TABLE near, passing;

-- All of these are, however they are written.
CREATE TABLE alike (a int, b int, c varchar, d text, e tsvector, f int[], g int4range);
CREATE INDEX alike_1 ON alike (a, b DESC) INCLUDE (c, d) WHERE a > 0 AND b IS NOT NULL;
CREATE INDEX alike_2 ON alike (a DESC, b) INCLUDE (d, c) WHERE ((a > 0)   AND (b IS NOT NULL));
CREATE INDEX alike_3 ON alike (lower(c), (a + 1));
CREATE INDEX alike_4 ON alike (  lower(c::text)  ,   (a+1)  ) WITH (fillfactor = 70);
CREATE INDEX alike_5 ON alike (c varchar_ops);
CREATE INDEX alike_6 ON alike (c text_ops);
CREATE INDEX alike_7 ON alike USING gin (f, e);
CREATE INDEX alike_8 ON alike USING gin (e, f);
CREATE INDEX alike_9 ON alike USING brin (a, b);
CREATE INDEX alike_a ON alike USING brin (b, a);
CREATE INDEX alike_b ON alike USING gist (e tsvector_ops (siglen = 8));
CREATE INDEX alike_c ON alike USING gist (e tsvector_ops (siglen = 16));
CREATE INDEX alike_d ON alike USING gist (e tsvector_ops (siglen = 8)) WITH (fillfactor = 60);
SELECT index, reason FROM found ORDER BY index;
SELECT * FROM try();
DROP TABLE alike;

-- What forbids more, or something else, stays.
CREATE TABLE guard (a int NOT NULL, b int, c int4range,
    CONSTRAINT a_later UNIQUE (a) DEFERRABLE,
    CONSTRAINT no_overlap EXCLUDE USING gist (c WITH &&),
    CONSTRAINT no_twin EXCLUDE USING gist (c WITH =));
ALTER TABLE guard ADD CONSTRAINT no_overlap_twin EXCLUDE USING gist (c WITH &&);
CREATE UNIQUE INDEX guard_a ON guard (a);
CREATE UNIQUE INDEX guard_b ON guard (b);
CREATE UNIQUE INDEX guard_b_nulls ON guard (b) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX guard_b_part ON guard (b) WHERE a > 0;
CREATE INDEX guard_c ON guard USING gist (c);
SELECT index, reason, statement FROM found ORDER BY index;
SELECT * FROM try();

-- What a foreign key or replication needs is not dropped, and it is said why.
ALTER TABLE guard DROP CONSTRAINT a_later, DROP CONSTRAINT no_twin, DROP CONSTRAINT no_overlap_twin;
ALTER TABLE guard ADD CONSTRAINT guard_key UNIQUE USING INDEX guard_a;
CREATE TABLE refers (a int REFERENCES guard (a));
ALTER TABLE guard ADD PRIMARY KEY (a);
DROP INDEX guard_c, guard_b;
SELECT index, severity, reason, statement FROM found;
DROP TABLE refers;
ALTER TABLE guard REPLICA IDENTITY USING INDEX guard_key;
SELECT index, severity, reason, statement FROM found;
ALTER TABLE guard REPLICA IDENTITY DEFAULT;
SELECT index, severity, reason, statement FROM found;
DROP TABLE guard;

-- A partitioned index is one finding; one of a partition alone is dropped, not the attached one.
CREATE TABLE parts (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY LIST (b);
CREATE TABLE parts_2_rest PARTITION OF parts_2 DEFAULT;
CREATE INDEX parts_b ON parts (b);
CREATE INDEX parts_b_twin ON parts (b);
CREATE INDEX parts_1_b_alone ON parts_1 (b);
CREATE INDEX parts_b_unfinished ON ONLY parts (b);
SELECT relation, index, reason, statement FROM found ORDER BY index;
SELECT * FROM try();
DROP TABLE parts;

-- Severity follows size.
CREATE TABLE large (a int, b text);
INSERT INTO large SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) AS n;
CREATE INDEX large_a ON large (a);
CREATE INDEX large_a_twin ON large (a);
ANALYZE large;
SELECT index, severity, confidence FROM found;

RESET search_path;
DROP SCHEMA dup CASCADE;
DROP EXTENSION pg_architect;
