-- What jsonb_advice says to do about a key: the statement runs, the advice is gone, none is new, and the undo
-- leaves the schema as it was.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_jsonb_owner LOGIN;
CREATE SCHEMA docs AUTHORIZATION regress_jsonb_owner;
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_jsonb_owner;

-- Keys of all kinds: name, n and truth are in all documents; some has many values and is in few.
CREATE FUNCTION docs.document(n integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('name', 'name ' || n, 'n', n, 'status', (ARRAY['new', 'paid', 'sent'])[1 + n % 3],
           'truth', n % 7 = 0, 'one', 1, 'null', NULL, 'list', '[1, 2]'::jsonb, 'id', n, 'ctid', n,
           'mixed', CASE WHEN n % 2 = 0 THEN to_jsonb(n) ELSE '"x"' END, 'nullable', CASE WHEN n % 9 > 0 THEN n END,
           'of', jsonb_build_object('The "city"', 'c' || n, 'kind', n % 4), 'it''s\', 'x' || n)
        || CASE WHEN n % 5 = 0 THEN jsonb_build_object('some', 's' || n, 'rare', n % 2, 'long', repeat(md5(n::text), 40)) ELSE '{}' END
        || CASE WHEN n % 5 <> 0 THEN jsonb_build_object('most', 'm' || n, E'two\nlines', n) ELSE '{}' END
$$;
CREATE TABLE docs.small (id integer PRIMARY KEY, "Doc" jsonb);
INSERT INTO docs.small SELECT n, docs.document(n) FROM generate_series(1, 3000) AS n;
-- Pages that are nearly empty, so that it is too large to be rewritten.
CREATE TABLE docs."Large one" (id integer PRIMARY KEY, "Doc" jsonb) WITH (fillfactor = 10);
INSERT INTO docs."Large one" SELECT n, docs.document(n) - '{n,list,of,mixed,null,truth,nullable,rare,long}'::text[]
    FROM generate_series(1, 4000) AS n;
CREATE TABLE docs.parts (id integer, doc jsonb) PARTITION BY RANGE (id);
CREATE TABLE docs.parts_1 PARTITION OF docs.parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE docs.parts_2 (doc jsonb, id integer);
ALTER TABLE docs.parts ATTACH PARTITION docs.parts_2 FOR VALUES FROM (1000) TO (5000);
INSERT INTO docs.parts SELECT n, docs.document(n) FROM generate_series(1, 3000) AS n;
CREATE MATERIALIZED VIEW docs.copies AS SELECT * FROM docs.small;
CREATE TABLE docs.tiny AS SELECT id, "Doc" AS doc FROM docs.small WHERE id < 900;

CREATE VIEW docs.advice AS
    SELECT relation::text COLLATE "C" AS relation, key COLLATE "C" AS key, advice, reason, statement, undo, lock
    FROM architect.jsonb_advice WHERE relation::text LIKE 'docs.%' AND key IS NOT NULL;
SELECT key, advice, reason FROM docs.advice WHERE relation = 'docs.small' ORDER BY key;
SELECT relation, key, advice FROM docs.advice WHERE relation NOT IN ('docs.small', 'docs.parts') AND advice IS NOT NULL
ORDER BY relation, key;
SELECT count(*) FROM (SELECT key, advice FROM docs.advice WHERE relation = 'docs.small' AND key <> 'id'
                      EXCEPT SELECT key, advice FROM docs.advice WHERE relation = 'docs.parts') AS other;

-- One of each.
\x on
\pset format unaligned
SELECT key, advice, statement, undo, lock FROM docs.advice
WHERE (relation, key) IN (('docs.small', 'of.The "city"'), ('docs.small', 'some'), ('docs.small', 'rare'),
                          ('docs."Large one"', 'it''s\'), ('docs.parts', 'n'), ('docs.parts', 'most'))
ORDER BY relation, key;
\pset format aligned
\x off

-- What the schema is made of.
CREATE FUNCTION docs.schema() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('column %s.%s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'docs'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'docs'::regnamespace
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'statistics ' || stxname FROM pg_statistic_ext WHERE stxnamespace = 'docs'::regnamespace
$$;
CREATE TABLE docs.before AS SELECT relation, key, advice, statement, undo FROM docs.advice WHERE advice IS NOT NULL;
CREATE TABLE docs.was (line text);
INSERT INTO docs.was SELECT docs.schema();

-- All are run, one line at a time.
\t on
\o /dev/null
SELECT unnest(string_to_array(statement, E'\n')) FROM docs.before ORDER BY relation, key \gexec
\o
\t off
SELECT relation, key, advice, reason FROM docs.advice WHERE advice IS NOT NULL;
SELECT key, reason FROM docs.advice WHERE relation = 'docs.small' AND key IN ('n', 'some', 'rare', 'most') ORDER BY key;

-- The columns have what the documents have, also of documents that come later.
INSERT INTO docs."Large one" VALUES (0, '{"name": 5, "it''s\\": "later"}');
UPDATE docs."Large one" SET "Doc" = '{}' WHERE id = 1;
INSERT INTO docs.small VALUES (0, '{"n": "no number", "name": null}');
SELECT count(*) FROM docs."Large one"
WHERE (name, "it's\") IS DISTINCT FROM ("Doc" ->> 'name', "Doc" ->> 'it''s\');
SELECT count(*) FROM docs.small WHERE n IS DISTINCT FROM nullif("Doc" ->> 'n', 'no number')::numeric
    OR "of_The ""city""" IS DISTINCT FROM "Doc" -> 'of' ->> 'The "city"';
-- The index is used, and the planner knows of the few values.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT FROM docs.small WHERE "Doc" ->> 'some' = 's5';
EXPLAIN (COSTS OFF) SELECT FROM docs.parts WHERE doc ->> 'most' = 's6' AND id < 1000;
RESET enable_seqscan;
RESET enable_bitmapscan;
DELETE FROM docs.small WHERE id = 0;
DELETE FROM docs."Large one" WHERE id = 0;
UPDATE docs."Large one" SET "Doc" = docs.document(1) - '{n,list,of,mixed,null,truth,nullable,rare,long}'::text[] WHERE id = 1;

\t on
\o /dev/null
SELECT unnest(string_to_array(undo, E'\n')) FROM docs.before ORDER BY relation DESC, key DESC \gexec
\o
\t off
SELECT * FROM (SELECT docs.schema() EXCEPT SELECT line FROM docs.was) AS new;
SELECT * FROM (SELECT line FROM docs.was EXCEPT SELECT docs.schema()) AS gone;
SELECT relation, key FROM (TABLE docs.before EXCEPT SELECT relation, key, advice, statement, undo FROM docs.advice) AS lost;

-- What is there already is seen, whatever it looks like.
CREATE INDEX ON docs.small (lower("Doc" ->> 'name'));
CREATE INDEX ON docs.small ((("Doc" ->> 'n')::integer));
CREATE INDEX ON docs.small (("Doc" ->> 'it''s\') text_pattern_ops);
ALTER TABLE docs.small ADD city text GENERATED ALWAYS AS (upper("Doc" -> 'of' ->> 'The "city"')) STORED;
CREATE STATISTICS docs.several ON ("Doc" ->> 'status'), id FROM docs.small;
SELECT key, reason FROM docs.advice
WHERE relation = 'docs.small' AND key IN ('name', 'n', 'it''s\', 'of.The "city"', 'status') ORDER BY key;
-- Names that are taken: of a statistics object, a trigger and a function.
CREATE STATISTICS docs."small_Doc_rare_stat" ON id, "Doc" FROM docs.small;
CREATE FUNCTION docs."Large one_Doc_name_fill"() RETURNS integer LANGUAGE sql AS 'SELECT 1';
SELECT key, split_part(statement, E'\n', CASE advice WHEN 'column' THEN 2 ELSE 1 END) FROM docs.advice
WHERE (relation, key) IN (('docs.small', 'rare'), ('docs."Large one"', 'name')) ORDER BY key;

-- Two keys that would have one column, or one name for an index: one comes after the other.
CREATE TABLE docs.twins AS
SELECT jsonb_build_object('name', n::text, repeat('k', 70) || 1, n::text, repeat('k', 70) || 2, n::text) AS doc,
       jsonb_build_object('name', n::text) AS more
FROM generate_series(1, 2000) AS n;
SELECT column_name, left(key, 4) AS key, advice, reason FROM architect.jsonb_sample('docs.twins') WHERE key IS NOT NULL;
-- Of large documents it is not known whether a key has many values.
CREATE TABLE docs.large AS
SELECT jsonb_build_object('body', repeat('x', 70000)) || CASE WHEN n % 3 > 0 THEN '{"kind": "a"}' ELSE '{}'::jsonb END AS doc
FROM generate_series(1, 1500) AS n;
SELECT key, advice, reason FROM architect.jsonb_sample('docs.large') WHERE key IS NOT NULL;

-- A table that others inherit from, or a partition, is given no column.
CREATE TABLE docs.heir () INHERITS (docs.small);
SELECT key, advice FROM docs.advice WHERE relation = 'docs.small' AND key = 'nullable';
SELECT key, advice FROM architect.jsonb_sample('docs.parts_2') WHERE key = 'n';

RESET SESSION AUTHORIZATION;
DROP SCHEMA docs CASCADE;
DROP ROLE regress_jsonb_owner;
DROP EXTENSION pg_architect;
