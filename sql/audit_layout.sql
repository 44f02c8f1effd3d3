-- The log's JSONB is written by hand, so it must be what the server itself would
-- have written: for few columns and for many, for short names and for long ones.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_layout_owner;
CREATE SCHEMA audit_layout AUTHORIZATION regress_layout_owner;
SET SESSION AUTHORIZATION regress_layout_owner;
SET search_path = audit_layout;

-- Tables of more and more columns, around every multiple of 32, where an offset is
-- kept instead of a length; values of every kind that JSON knows, in turn.
CREATE PROCEDURE make_wide(columns integer) LANGUAGE plpgsql AS $$
DECLARE
    definitions text;
    expressions text;
BEGIN
    SELECT string_agg(format('%I %s', name, type), ', ' ORDER BY n), string_agg(expression, ', ' ORDER BY n)
    INTO definitions, expressions
    FROM generate_series(1, columns) AS n
    CROSS JOIN LATERAL (SELECT CASE n % 5
                                   WHEN 0 THEN repeat('n', n % 60 + 1) || n
                                   WHEN 1 THEN 'Ü' || n
                                   WHEN 2 THEN 'quoted "' || n || '\"'
                                   WHEN 3 THEN chr(96 + n % 26) || n
                                   ELSE 'c' || n
                               END AS name) AS named
    CROSS JOIN LATERAL (SELECT (ARRAY['integer', 'text', 'numeric', 'jsonb', 'boolean', 'bigint', 'text'])[1 + n % 7] AS type) AS typed
    CROSS JOIN LATERAL (SELECT CASE
                                   WHEN n % 11 = 0 THEN 'NULL'
                                   WHEN type = 'integer' THEN '-n - ' || n
                                   WHEN type = 'bigint' THEN '9000000000000000000 + n + ' || n
                                   WHEN type = 'numeric' THEN format('(n + %s) / 100.00', n)
                                   WHEN type = 'text' THEN format('repeat(''%s'', %s * n)', chr(64 + n % 26), n % 40)
                                   WHEN type = 'boolean' THEN format('(n + %s) %% 2 = 0', n)
                                   ELSE format('(''{"a": [%s, "b", ['' || n || ''.50]], "": {}}'')::jsonb', n)
                               END AS expression) AS given;
    EXECUTE format('CREATE TABLE wide_%s (id integer PRIMARY KEY, %s)', columns, definitions);
    PERFORM architect.audit_enable(format('wide_%s', columns)::regclass, capture => 'full');
    EXECUTE format('INSERT INTO wide_%s SELECT n, %s FROM generate_series(1, 3) AS n', columns, expressions);
    EXECUTE format('UPDATE wide_%s SET id = id + 1000', columns);
END
$$;
DO $$
BEGIN
    FOR columns IN 1..70 LOOP
        CONTINUE WHEN columns % 32 BETWEEN 5 AND 27;
        CALL make_wide(columns);
    END LOOP;
    CALL make_wide(200);
    CALL make_wide(300);
END
$$;

-- What the server writes for the same row, and what it makes of our bytes.
CREATE FUNCTION wrong() RETURNS TABLE (table_name text, what text) LANGUAGE plpgsql AS $$
DECLARE
    wide record;
BEGIN
    FOR wide IN SELECT relname FROM pg_class WHERE relnamespace = 'audit_layout'::regnamespace AND relkind = 'r' LOOP
        RETURN QUERY EXECUTE format(
            'SELECT %L, problem
             FROM architect.audit_log AS log
             JOIN %I AS live ON log.new_values -> ''id'' = to_jsonb(live.id)
             CROSS JOIN LATERAL (SELECT log.new_values AS ours, to_jsonb(live) AS theirs) AS pair
             CROSS JOIN LATERAL (VALUES
                 (''text'', ours::text = theirs::text),
                 (''parsed again'', ours::text::jsonb = ours),
                 (''equal'', ours = theirs AND ours @> theirs AND theirs @> ours),
                 (''bytes'', ROW(ours)::record OPERATOR(pg_catalog.*=) ROW(theirs)::record),
                 (''hash'', jsonb_hash(ours) = jsonb_hash(theirs)),
                 (''each'', NOT EXISTS (SELECT jsonb_each(ours) EXCEPT SELECT jsonb_each(theirs))),
                 (''keys'', (SELECT bool_and(ours ? key AND ours -> key = value AND ours - key = theirs - key) FROM jsonb_each(theirs))),
                 (''missing'', NOT ours ? ''missing'' AND ours -> ''missing'' IS NULL),
                 (''concatenated'', ours || ''{"id": 0, "more": [1]}'' = theirs || ''{"id": 0, "more": [1]}''),
                 (''path'', jsonb_path_query_array(ours, ''$.*'') = jsonb_path_query_array(theirs, ''$.*''))
             ) AS test (problem, passed)
             WHERE log.table_name = %L AND log.operation = ''UPDATE'' AND passed IS NOT TRUE', wide.relname, wide.relname, wide.relname);
    END LOOP;
END
$$;
SELECT count(DISTINCT table_id) AS tables, count(*) AS rows FROM architect.audit_log WHERE operation = 'UPDATE';
SELECT * FROM wrong();

-- Names of columns up to 63 bytes; keys of JSONB are ordered by length first.
CREATE TABLE named (id integer PRIMARY KEY, b integer, a integer, "B" integer, aa integer, " " integer, "é" integer, "zz" integer,
                    "a63456789012345678901234567890123456789012345678901234567890123" integer,
                    "ü3456789012345678901234567890123456789012345678901234567890123" integer);
SELECT architect.audit_enable('named');
INSERT INTO named VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
SELECT new_values::text = to_jsonb(named)::text AS same, new_values - 'id' AS new_values FROM architect.audit_log, named WHERE table_name = 'named';

-- Large values: longer than a page, compressible or not, on the way through TOAST.
CREATE TABLE large (id integer PRIMARY KEY, a text, b text, c jsonb, n integer);
ALTER TABLE large ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTENDED;
SELECT architect.audit_enable('large');
CREATE FUNCTION noise(bytes integer, seed integer) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(md5((seed * 1000000 + n)::text), '') FROM generate_series(1, bytes / 32) AS n
$$;
INSERT INTO large
SELECT n, repeat('x', 100000 * n), noise(3000 * n, n), jsonb_build_object('k', noise(20000, n), 'z', repeat('z', 300000)), 0
FROM generate_series(1, 5) AS n;
INSERT INTO large VALUES (6, repeat('y', 3000), repeat('y', 1900), NULL, 0);
SELECT count(*) FROM architect.audit_log AS log JOIN large ON log.record_id = large.id::text
WHERE table_name = 'large' AND new_values = to_jsonb(large) AND new_values::text = to_jsonb(large)::text;
-- A large value that is not touched is not logged; one that is, is, whole.
UPDATE large SET n = 1;
UPDATE large SET a = a, b = b || '', c = c || '{}';
SELECT count(*), max(new_values::text) AS new_values, max(pg_column_size(old_values)) < 100 AS small
FROM architect.audit_log AS log WHERE table_name = 'large' AND operation = 'UPDATE';
UPDATE large SET a = a || 'y' WHERE id = 1;
UPDATE large SET b = overlay(b PLACING '!' FROM 1000 FOR 1) WHERE id = 2;
UPDATE large SET b = overlay(b PLACING '!' FROM 1000 FOR 1) WHERE id = 6;
UPDATE large SET b = substr(b, 1, 10) WHERE id = 3;
UPDATE large SET c = c || '{"z": 1}' WHERE id = 4;
SELECT record_id, (SELECT string_agg(key || ' ' || length(value::text), ', ' ORDER BY key) FROM jsonb_each(old_values)) AS before,
       (SELECT string_agg(key || ' ' || length(value::text), ', ' ORDER BY key) FROM jsonb_each(new_values)) AS after
FROM architect.audit_log
WHERE table_name = 'large' AND operation = 'UPDATE' AND NOT new_values ? 'n'
ORDER BY id;
DELETE FROM large;
SELECT count(*), bool_and(old_values ->> 'n' = '1') AS rows FROM architect.audit_log WHERE table_name = 'large' AND operation = 'DELETE';
-- What a row leaves in the log is the log's own: the table can go.
CREATE TABLE kept AS SELECT id, md5(old_values::text) AS sum FROM architect.audit_log WHERE table_name = 'large' AND operation = 'DELETE';
DROP TABLE large;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM architect.audit_log JOIN kept USING (id) WHERE md5(old_values::text) = sum;

SET client_min_messages = warning;
DROP SCHEMA audit_layout CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_layout_owner;
