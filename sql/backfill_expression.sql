-- Whatever may be assigned, a backfill leaves what one plain UPDATE leaves; its expressions
-- mean what the caller meant, under any search_path and settings.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_backfill_owner;
CREATE SCHEMA backfill_expression AUTHORIZATION regress_backfill_owner;
CREATE SCHEMA "backfill ""Odd" AUTHORIZATION regress_backfill_owner;
SET search_path = backfill_expression, "backfill ""Odd";

-- Types and operators that the pinned search_path does not find; of loose, 'A' is 'a'.
CREATE TYPE "backfill ""Odd".loose;
CREATE FUNCTION "backfill ""Odd".loose_in(cstring) RETURNS loose LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION "backfill ""Odd".loose_out(loose) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE "backfill ""Odd".loose (INPUT = loose_in, OUTPUT = loose_out, LIKE = text);
CREATE CAST (loose AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE FUNCTION "backfill ""Odd".same(loose, loose) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN lower($1::text COLLATE "C") = lower($2::text COLLATE "C");
CREATE OPERATOR "backfill ""Odd".= (FUNCTION = same, LEFTARG = loose, RIGHTARG = loose);
SET SESSION AUTHORIZATION regress_backfill_owner;
CREATE DOMAIN "backfill ""Odd".positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN "backfill ""Odd".short AS varchar(5);
CREATE TYPE "backfill ""Odd".mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE TYPE "backfill ""Odd".pair AS (a integer, b text);
CREATE TYPE "backfill ""Odd".nest AS (n integer, inner_one pair);
CREATE COLLATION "backfill ""Odd"."my C" FROM "C";
CREATE FUNCTION "backfill ""Odd".near(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN abs($1 - $2) <= 1;
CREATE OPERATOR "backfill ""Odd".<~> (FUNCTION = near, LEFTARG = integer, RIGHTARG = integer);
SET TimeZone = 'Europe/Berlin';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0;

CREATE PROCEDURE renew() LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS subject;
    CREATE TABLE subject (id integer PRIMARY KEY, "Select" integer DEFAULT 7, target integer,
        doubled integer GENERATED ALWAYS AS ("Select" * 2) STORED, flag boolean, amount numeric(8, 2),
        score double precision, note text DEFAULT 'none', code varchar(4) DEFAULT 'c', fixed char(4),
        name text COLLATE "my C", place positive, brief short, feeling mood, both_of pair, pairs pair[],
        within nest, loosely loose, other_loosely loose, tags text[], grid integer[], codes varchar(3)[], doc jsonb, raw json, day date,
        moment timestamptz, second timestamp(0), span interval, bits bit(4), bytes bytea, area int4range,
        spot point, words tsvector);
    INSERT INTO subject (id, target, flag, amount, score, code, fixed, name, place, brief, feeling, both_of, loosely,
                         other_loosely, tags, grid, doc, raw, day, moment, span)
        SELECT i, nullif(i % 5, 0), nullif(i % 3, 0) = 1, i * 1.25, i / 3.0, 'c' || i % 4, 'f' || i % 3,
               chr(64 + i % 20), i, 'b' || i, (enum_range(NULL::mood))[1 + i % 3], (i, 'x' || i)::pair,
               (ARRAY['a', 'A', NULL])[1 + i % 3]::loose, (ARRAY['a', 'b', NULL])[1 + i % 2]::loose,
               ARRAY['t' || i, NULL], ARRAY[[i, 2], [3, 4]], jsonb_build_object('a', i, 'b', nullif(i % 2, 0)),
               '{"x": 1,  "x": 2}', date '01/02/2024' + i, timestamptz '31/03/2024 00:00' + i * interval '20 minutes',
               i * interval '1 day 30 minutes'
        FROM generate_series(1, 40) AS i;
END
$$;
CALL renew();
CREATE TABLE example AS SELECT i AS id FROM generate_series(1, 40) AS i;

CREATE TABLE cases (number integer GENERATED ALWAYS AS IDENTITY, assignment text, filter text, subqueries boolean DEFAULT false);
INSERT INTO cases (assignment, filter) VALUES
    ('note = id::text || ''x''', 'note = ''none'''),
    ('note = NULL, amount = NULL, "Select" = target', NULL),
    ('"Select" = DEFAULT, note = DEFAULT, code = DEFAULT, brief = DEFAULT', 'subject.id > 3 AND backfill_expression.subject.id < 30'),
    ('("Select", target) = (target, "Select")', NULL),
    ('(note, flag) = ROW(name, NOT flag)', 'flag'),
    ('target = target + 1, "Select" = doubled', 'doubled = 14'),
    ('target = 5, note = note || ''!''', 'target <> 5 OR target IS NULL'),
    ('amount = 12345.678, code = ''ab'', fixed = ''x'', brief = ''y'', place = 3, feeling = ''it''''s "fine"''', NULL),
    ('amount = score, code = fixed, fixed = code, brief = left(name, 3), place = id', NULL),
    ('code = note::varchar(4), fixed = (note || ''long'')::char(4), amount = score::numeric(4, 1)', NULL),
    ('score = 1e-300 + 0.1::float8, target = -2147483648, "Select" = - id ^ 2', 'score <> ''NaN'' AND id > -1'),
    ('flag = id <~> 3', NULL),
    ('flag = id OPERATOR("backfill ""Odd".<~>) 3', 'near(id, 3)'),
    ('flag = loosely IS DISTINCT FROM other_loosely', NULL),
    ('flag = loosely IS NOT DISTINCT FROM other_loosely', 'NULLIF(loosely, other_loosely) IS NOT NULL'),
    ('note = CASE loosely WHEN ''a'' THEN ''A'' WHEN other_loosely THEN ''same'' ELSE ''neither'' END', NULL),
    ('note = CASE id WHEN 1 THEN ''one'' WHEN 2 THEN NULL END, flag = id IS DISTINCT FROM target', NULL),
    ('flag = loosely IN (''A'', ''b'')', 'loosely = ''A'''),
    ('flag = (id, name) < (target, ''C'')', '(id, target) IS DISTINCT FROM (1, 1)'),
    ('flag = name < ''a'' COLLATE "C", note = name COLLATE "my C"', 'name COLLATE "my C" BETWEEN ''B'' AND ''R'''),
    ('both_of = ROW(id, note), note = (both_of).b', '(both_of).a > 2'),
    ('both_of = (1, ''x'')::pair', '(both_of).b <> ''x'''),
    ('both_of = (1, NULL), pairs = ARRAY[(1, ''x'')::pair], within = (id, (2, ''y''))', NULL),
    ('pairs = array_append(pairs, both_of), within = ROW(1, both_of)', '(within).inner_one IS NULL'),
    ('codes = ARRAY[left(note, 3), ''ab''], brief = code, place = id, fixed = note::char(4), amount = score', NULL),
    ('tags = array_append(tags, ''z''), grid = ARRAY[[1, 2], [3, id]], codes = ARRAY[code, ''xyz'']', 'grid[1][1] > 3'),
    ('note = grid[1:2][2:2]::text || tags[1], codes = ''{abc,"d e"}''', '3 = ANY (grid)'),
    ('doc = jsonb_set(doc, ''{a}'', to_jsonb(name)) || ''{"c": [1, null]}''', 'doc ? ''b'' AND doc @> ''{"b": 1}'''),
    ('doc = to_jsonb(subject) - ''raw'', note = subject::text', NULL),
    ('raw = ''{"x": 3,  "x": 2}'', spot = point(1, 2), area = ''[1,3)'', bytes = ''\x00ff'', bits = B''1010''', NULL),
    ('flag = subject IS NOT NULL', NULL),
    ('day = ''03/02/2024'', span = ''-1 day 02:03'', moment = ''27/10/2024 02:30'', second = ''01/02/2024 10:00:00.7''', NULL),
    ('day = moment::date, second = moment AT TIME ZONE ''UTC'', span = age(second, day)', 'moment > ''31/03/2024 03:00'''),
    ('note = moment::text || day::text || span::text || score', NULL),
    ('note = to_char(moment, ''FMDay HH24'') || extract(hour FROM moment)', NULL),
    ('words = to_tsvector(note || '' runs''), flag = to_tsvector(''simple'', name) @@ to_tsquery(''simple'', ''c | d'')', NULL),
    ('note = substring(name FROM 1 FOR 1) || overlay(note PLACING ''x'' FROM 2) || trim(BOTH ''n'' FROM note)', NULL),
    ('note = format(''%s-%s'', VARIADIC ARRAY[name, code])', 'name LIKE ''C%'' ESCAPE ''!'' OR name SIMILAR TO ''(D|E)'' OR name ~* ''^f'''),
    ('target = greatest(id, target, "Select"), "Select" = coalesce(target, id)', NULL),
    ('flag = current_user = ''regress_backfill_owner'' AND session_user IS NOT NULL', 'flag IS NOT TRUE'),
    ('note = ''a -- b /* c'' /* comment */ || E''\n\\'' -- ends here', NULL),
    ('note = ''x'', "Select" = 1 -- all of it', NULL);
INSERT INTO cases (assignment, filter, subqueries) VALUES
    ('note = (SELECT max(target.id) FROM example AS target WHERE target.id < subject.id AND target.id <~> subject.target)', NULL, true),
    ('target = (SELECT count(*) FROM example WHERE example.id < subject.id)', 'id IN (SELECT id FROM example WHERE id % 2 = 0)', true);

-- Each case: the backfill, the plain UPDATE, and how many rows they left that differ.
\pset format unaligned
\pset tuples_only on
\set ECHO none
SELECT 'CALL renew()',
       format('CALL architect.backfill(''subject'', set => %L, filter => %L, allow_subqueries => %L)', assignment, filter, subqueries),
       'CREATE TABLE filled AS SELECT id, subject::text AS image FROM subject',
       'CREATE TABLE renewed AS SELECT id, subject::text AS image FROM subject LIMIT 0',
       'CALL renew()',
       'INSERT INTO renewed SELECT id, subject::text FROM subject',
       format('UPDATE subject SET %s' || chr(10) || '%s', assignment, 'WHERE ' || filter),
       format('SELECT format(''%%s: changed %%s, differing %%s'', %s, count(*) FILTER (WHERE subject::text <> renewed.image),'
              ' count(*) FILTER (WHERE subject::text IS DISTINCT FROM filled.image))'
              ' FROM subject FULL JOIN filled USING (id) FULL JOIN renewed USING (id)', number),
       'DROP TABLE filled, renewed'
FROM cases ORDER BY number \gexec
\set ECHO all
\pset tuples_only off

-- The canonical texts, under the pinned search_path.
\c -
SET client_min_messages = warning;
\pset fieldsep '\n'
\pset recordsep '\n\n'
SELECT set_list, 'WHERE ' || condition AS condition, 'guard: ' || guard AS guard,
       'walk: ' || walk || CASE WHEN repeatable THEN ', repeatable' ELSE '' END || CASE WHEN closes THEN ', closes' ELSE '' END AS walk
FROM architect.backfill_register JOIN backfill_expression.cases USING (assignment)
WHERE number IN (1, 2, 3, 4, 6, 7, 8, 13, 15, 16, 23, 25, 29, 32) ORDER BY job;

DROP SCHEMA backfill_expression, "backfill ""Odd" CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_backfill_owner;
