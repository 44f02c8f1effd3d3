-- Indexes that a wider one makes needless, and what a wider one cannot do.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA red;
SET search_path = red;
CREATE VIEW found AS
    SELECT relation::text AS relation, index::text AS index, severity, confidence, reason, statement
    FROM architect.index_redundant;

CREATE TABLE wide (id int PRIMARY KEY, gone int, a int, b int, c text, d text, e int[], f int4range, "G h" int);
ALTER TABLE wide DROP gone;
-- A prefix, in the same order or all of it turned around.
CREATE INDEX wide_a ON wide (a);
CREATE INDEX wide_a_desc ON wide (a DESC);
CREATE INDEX wide_ab ON wide (a, b DESC, c);
CREATE INDEX wide_ab_back ON wide (a DESC, b);
-- The same keys, and more stored; or what was stored is a key.
CREATE INDEX wide_b ON wide (b);
CREATE INDEX wide_b_stores ON wide (b) INCLUDE (a, c);
CREATE INDEX "Wide g" ON wide ("G h") INCLUDE (a);
CREATE INDEX wide_ga ON wide ("G h", a) WITH (deduplicate_items = off);
CREATE UNIQUE INDEX wide_unique ON wide (id) INCLUDE (a);
-- Expressions and predicates.
CREATE INDEX wide_lower ON wide (lower(c)) WHERE a > 0;
CREATE INDEX wide_lower_d ON wide (lower(c), (a + 1), d) WHERE a > 0;
-- Other access methods.
CREATE INDEX wide_hash ON wide USING hash (c COLLATE "C");
CREATE INDEX wide_tree ON wide (c COLLATE "C", b);
CREATE INDEX wide_gin ON wide USING gin (e);
CREATE INDEX wide_gin_more ON wide USING gin (to_tsvector('simple', c), e);
CREATE INDEX wide_brin ON wide USING brin (b);
CREATE INDEX wide_brin_more ON wide USING brin (a, b);
CREATE INDEX wide_gist ON wide USING gist (f);
CREATE INDEX wide_gist_more ON wide USING gist (f, (int4range(a, b)));
SELECT index, severity, confidence, reason, statement FROM found ORDER BY index;

-- The statement of each runs: the finding is gone, none is new, and the undo brings all back.
CREATE VIEW shape AS
    SELECT pg_get_indexdef(indexrelid) AS definition, indisclustered
    FROM pg_index
    JOIN pg_class ON oid = indexrelid AND relnamespace = 'red'::regnamespace;
CREATE FUNCTION try() RETURNS TABLE (index text, gone boolean, new text[], same boolean) LANGUAGE plpgsql AS $function$
DECLARE
    finding record;
    known text[] := ARRAY(SELECT advice.index::text FROM architect.index_find('{duplicate,redundant}') AS advice);
    before text := (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM red.shape AS s);
BEGIN
    FOR finding IN
        SELECT advice.*, advice.index::text AS name
        FROM architect.index_redundant AS advice
        WHERE statement IS NOT NULL
        ORDER BY 1, advice.index::text COLLATE "C"
    LOOP
        EXECUTE replace(finding.statement, ' CONCURRENTLY', '');
        index := finding.name;
        gone := to_regclass(index) IS NULL;
        new := ARRAY(SELECT advice.index::text FROM architect.index_find('{duplicate,redundant}') AS advice
                     WHERE advice.index::text <> ALL (known));
        EXECUTE replace(finding.undo, ' CONCURRENTLY', '');
        same := before = (SELECT string_agg(s::text, ' ' ORDER BY s::text COLLATE "C") FROM red.shape AS s);
        RETURN NEXT;
    END LOOP;
END
$function$;
SELECT * FROM try();
DROP TABLE wide;

-- A wider one does not do for these.
CREATE TABLE near (a int NOT NULL, b int, c text, d text, e int[], f int4range, "A" int);
CREATE UNIQUE INDEX near_unique ON near (a);
CREATE INDEX near_a_null ON near (a NULLS FIRST, b);
CREATE INDEX near_ab ON near (a, b);
CREATE INDEX near_b_mixed ON near (b, c DESC);
CREATE INDEX near_b_plain ON near (b, c, d);
CREATE INDEX near_stores ON near (d) INCLUDE (e);
CREATE INDEX near_stores_not ON near (d, a);
CREATE INDEX near_second ON near (d COLLATE "C");
CREATE INDEX near_pattern ON near (d text_pattern_ops);
CREATE INDEX near_lower ON near (lower(c));
CREATE INDEX near_upper ON near (upper(c), a);
CREATE INDEX near_part ON near (b, a, e) WHERE a > 0;
CREATE INDEX near_some ON near ("A") WHERE a > 0;
CREATE INDEX near_some_more ON near ("A", a) WHERE a > 1;
CREATE INDEX near_some_all ON near ("A", c);
CREATE INDEX near_hash ON near USING hash (c COLLATE "C");
CREATE INDEX near_brin ON near USING brin (a) WITH (pages_per_range = 4);
CREATE INDEX near_brin_more ON near USING brin (a, b);
CREATE INDEX near_gist ON near USING gist (f);
CREATE INDEX near_gist_later ON near USING gist ((int4range(a, b)), f);
ALTER TABLE near ADD EXCLUDE USING gist (f WITH &&, (int4range(b, a)) WITH &&);
SELECT index, reason FROM found ORDER BY index;
DROP TABLE near;

-- One of several that do: the widest that stays.
CREATE TABLE chain (a int, b int, c int);
CREATE INDEX chain_1 ON chain (a);
CREATE INDEX chain_2 ON chain (a, b);
CREATE INDEX chain_3 ON chain (a, b, c);
CREATE INDEX chain_4 ON chain (a, b, c);
ALTER TABLE chain CLUSTER ON chain_4;
SELECT rule, index, reason FROM architect.index_advice WHERE relation = 'chain'::regclass ORDER BY 1, index::text;
ALTER TABLE chain CLUSTER ON chain_1;
SELECT index, statement FROM found WHERE index = 'chain_1';
SELECT * FROM try();
DROP TABLE chain;

-- One that is far larger is not as good.
CREATE TABLE heavy (a int, b text);
INSERT INTO heavy SELECT n % 10, md5(n::text) || md5((n + 1)::text) FROM generate_series(1, 20000) AS n;
CREATE INDEX heavy_a ON heavy (a);
CREATE INDEX heavy_ab ON heavy (a, b);
ANALYZE heavy;
SELECT index, severity, confidence, regexp_replace(reason, '\d+', 'N') AS reason FROM found;
DROP TABLE heavy;

-- Both serve the foreign key, so one of them is enough; an index that does not serve it is not.
CREATE TABLE owner (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE owned (a int, b int, c int, FOREIGN KEY (a, b) REFERENCES owner);
CREATE INDEX owned_ba ON owned (b, a);
CREATE INDEX owned_bac ON owned (b, a, c);
SELECT index, reason FROM found;
DROP TABLE owner, owned;

-- A unique index that no scan uses, of columns that are unique by another; not one that is scanned or referred to.
CREATE TABLE twice (a int, b int, c int, PRIMARY KEY (a, b));
CREATE UNIQUE INDEX twice_ba ON twice (b, a);
CREATE UNIQUE INDEX twice_abc ON twice (c, a, b);
CREATE UNIQUE INDEX twice_ca ON twice (c, a);
CREATE TABLE refers (a int, b int, c int, FOREIGN KEY (c, a, b) REFERENCES twice (c, a, b));
SELECT index FROM found;
SET architect.index_unused_after = 0;
SELECT index, confidence, reason FROM found ORDER BY index;
DROP TABLE refers;
SELECT index FROM found ORDER BY index;
INSERT INTO twice SELECT n, n, n FROM generate_series(1, 100) AS n;
SET enable_seqscan = off;
SELECT count(*) FROM twice WHERE b = 5;
RESET enable_seqscan;
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
SELECT index, confidence, reason FROM found ORDER BY index;
DROP TABLE twice;

-- What is unused is not what is to be kept for what is used.
CREATE TABLE rather (a int, b int);
INSERT INTO rather SELECT n, n FROM generate_series(1, 100) AS n;
CREATE INDEX rather_a ON rather (a);
SET enable_seqscan = off;
SELECT count(*) FROM rather WHERE a = 5;
RESET enable_seqscan;
BEGIN;
SELECT pg_stat_force_next_flush();
COMMIT;
CREATE INDEX rather_ab ON rather (a, b);
SELECT rule, index FROM architect.index_find('{unused,redundant}') ORDER BY 1, 2;
RESET architect.index_unused_after;
SELECT rule, index FROM architect.index_find('{unused,redundant}') ORDER BY 1, 2;

RESET search_path;
DROP SCHEMA red CASCADE;
DROP EXTENSION pg_architect;
