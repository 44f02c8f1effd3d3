-- Forms of queries that are easily misread: what is not sure is left out, and its columns are
-- named as those of conditions that were not understood.

CREATE EXTENSION pg_architect;
CREATE SCHEMA index_workload_forms;
CREATE SCHEMA index_workload_forms_two;
SET search_path = index_workload_forms;

CREATE TABLE wf_items (id integer PRIMARY KEY, a integer, b integer, c text, d timestamptz, e varchar(20), f boolean,
                       code char(5), day date, list integer[], data jsonb);
CREATE TABLE wf_parts (id integer PRIMARY KEY, item_id integer, a integer, z text, deleted timestamptz);

CREATE FUNCTION understood(VARIADIC queries text[])
    RETURNS TABLE (relation regclass, predicates text, unread text, sort text, columns text)
BEGIN ATOMIC
    SELECT access.relation, array_to_string(access.predicates, ' & '), array_to_string(access.unread, ' '),
           array_to_string(access.sort, ', '), array_to_string(access.columns, ' ')
    FROM architect.index_workload(queries) WITH ORDINALITY AS access
    WHERE access.relation IS NOT NULL
    ORDER BY access.ordinality;
END;
\pset format unaligned
\pset tuples_only on

-- Alternatives are one condition where all ask for values of the same column.
SELECT * FROM understood(
    'SELECT id FROM wf_items WHERE a = 1 OR a IN (2, 3) OR a = ANY ($1)',
    'SELECT id FROM wf_items WHERE a = 1 OR b = 2',
    'SELECT id FROM wf_items WHERE (a = 1 AND b = 2) OR (a = 3 AND c LIKE $1)',
    'SELECT id FROM wf_items WHERE a = 1 OR a IS NULL',
    'SELECT id FROM wf_items WHERE a = 1 OR a > 5',
    'SELECT id FROM wf_items WHERE data ->> $1 = $2 OR data ->> $3 = $4');

-- Of an outer join, what is asked of the columns that may be NULL for want of a match.
SELECT * FROM understood(
    'SELECT t.id FROM wf_items t LEFT JOIN wf_parts u ON u.item_id = t.id WHERE u.id IS NULL',
    'SELECT t.id FROM wf_items t LEFT JOIN wf_parts u ON u.item_id = t.id AND u.deleted IS NULL WHERE u.a = 5',
    'SELECT t.id FROM wf_items t LEFT JOIN wf_parts u ON u.item_id = t.id WHERE coalesce(u.a, 0) = 0 AND abs(u.a) = 1',
    'SELECT t.id FROM wf_items t LEFT JOIN wf_parts u ON u.item_id = t.id ORDER BY u.deleted LIMIT 5');

-- Names: of schemas, of joins, and those that NATURAL joins by.
SELECT * FROM understood(
    'SELECT 1 FROM (wf_items t JOIN wf_parts u ON t.id = u.item_id) AS j (p, q, r, c) WHERE c = $1 AND z = $2',
    'SELECT c FROM wf_items NATURAL JOIN wf_parts WHERE z = $1',
    'SELECT x.id FROM wf_items wf_parts, wf_parts wf_items, wf_items x WHERE wf_items.z = $1 AND wf_parts.c = $2 AND x.a = wf_parts.a',
    'SELECT column1 FROM (VALUES (1)) v JOIN wf_items ON a = column1',
    'SELECT wf_items FROM wf_items WHERE (wf_items).b = 2 AND wf_items.a = 1');

-- Orders that no index of the column gives.
SELECT * FROM understood(
    'SELECT c::int FROM wf_items ORDER BY c LIMIT 5',
    'SELECT row_number() OVER (ORDER BY a), b FROM wf_items ORDER BY b LIMIT 5',
    'SELECT id FROM wf_items ORDER BY c COLLATE "C" LIMIT 5');

-- Comparisons that an index of the column does not serve, and those that it does.
SELECT * FROM understood(
    'SELECT id FROM wf_items WHERE c COLLATE "C" = $1 AND e = $2 COLLATE "POSIX"',
    'SELECT id FROM wf_items WHERE a = $1::numeric AND b = 5.5 AND code = $2::text AND id = ANY ($3::numeric[])',
    'SELECT id FROM wf_items WHERE a = $1::bigint AND day > $2::timestamptz AND list = $3::int[] AND e = $4::text',
    'SELECT id FROM wf_items WHERE e::text = $1 AND c::varchar = $2 AND c::varchar(5) = $3',
    'SELECT id FROM wf_items WHERE a BETWEEN SYMMETRIC 1 AND 2 AND b IS DISTINCT FROM 3 AND NOT (f AND d = $1)',
    'SELECT id FROM wf_items WHERE (a, b) > ($1, $2) AND (id, b) <> (1, 2) AND (c, e) IN (($3, $4), ($5, $6))',
    'SELECT id FROM wf_items WHERE a = b AND 5 = a AND id = (SELECT max(a) FROM wf_parts)');

-- Commands that run a query.
SELECT * FROM understood(
    'PREPARE p AS SELECT id FROM wf_items WHERE a = $1',
    'DECLARE c CURSOR FOR SELECT id FROM wf_items WHERE b = $1',
    'COPY (SELECT id FROM wf_items WHERE b = 3) TO STDOUT',
    'CREATE TABLE n AS SELECT id FROM wf_items WHERE b = 3',
    'COPY wf_parts FROM STDIN', 'DO $$BEGIN NULL; END$$', 'EXPLAIN SELECT id FROM wf_parts WHERE a = $1');

-- What is done with a partition is done with the whole table, whatever the columns' numbers are.
CREATE TABLE wf_whole (id integer, a integer, b integer) PARTITION BY LIST (id);
CREATE TABLE wf_one (gone integer, b integer, a integer, id integer);
ALTER TABLE wf_one DROP COLUMN gone;
ALTER TABLE wf_whole ATTACH PARTITION wf_one FOR VALUES IN (1);
SELECT * FROM understood('SELECT b FROM wf_one WHERE a = $1 AND (b = 1 OR id = 2) ORDER BY b');

-- Two tables of one name.
CREATE TABLE index_workload_forms_two.wf_items (id integer, a integer, q integer);
SELECT * FROM understood(
    'SELECT 1 FROM index_workload_forms.wf_items, index_workload_forms_two.wf_items
     WHERE index_workload_forms.wf_items.a = 1 AND index_workload_forms_two.wf_items.a = 2');

-- Long texts.
SELECT length(predicates), length(unread) FROM understood(
    'SELECT id FROM wf_parts WHERE a IN (' || repeat('1, ', 10000) || '1)',
    'SELECT id FROM wf_parts WHERE z = ''' || repeat('x', 1000000) || '''',
    'SELECT id FROM wf_parts WHERE a = 1' || repeat(' OR a = 1', 1000));

-- A session that is canceled while it reads is as before.
CREATE TEMPORARY TABLE texts AS
SELECT array_agg('SELECT FROM wf_parts WHERE a = 1' || repeat(' AND (a = 1 OR z = 2)', 1000) || ' LIMIT ' || n) AS texts
FROM generate_series(1, 1000) AS n;
SET statement_timeout = '50ms';
SELECT count(*) FROM texts, architect.index_workload(texts); -- fails: canceled
RESET statement_timeout;
SELECT 'is not in a failed transaction' AS session;
DROP TABLE texts;

DROP SCHEMA index_workload_forms, index_workload_forms_two CASCADE;
DROP EXTENSION pg_architect;
