-- Values made of values: arrays, composites, ranges, json and jsonb.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_nested_owner;
CREATE SCHEMA audit_nested AUTHORIZATION regress_nested_owner;
SET SESSION AUTHORIZATION regress_nested_owner;
SET search_path = audit_nested;
SET TimeZone = 'UTC';

CREATE TYPE mood AS ENUM ('sad', 'so, so');
CREATE TYPE point3 AS (x float8, "y y" numeric, at timestamptz, span interval, raw bytea, mood mood, class regclass);
CREATE TYPE holder AS (label text, points point3[], span tstzrange);
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE DOMAIN positives AS positive[];
CREATE DOMAIN holders AS holder;
CREATE TYPE floatrange AS RANGE (subtype = float8, multirange_type_name = floatmultirange);
CREATE TYPE moodrange AS RANGE (subtype = mood);
CREATE TYPE pointrange AS RANGE (subtype = point3);
CREATE TABLE sample (
    i integer[], n numeric[], t text[], f float8[], tz timestamptz[], iv interval[], by bytea[], e mood[], c point3[],
    p point3, h holder, hs holder[], d positives, dh holders, b box[], m money[], cl regclass[],
    ir int4range, nr numrange, tr tstzrange, dr daterange, fr floatrange, mr moodrange, pr pointrange, ar int4range[],
    im int4multirange, tm tstzmultirange, fm floatmultirange, am datemultirange[]);
INSERT INTO sample VALUES (
    '{1,NULL,3}', '{1.50,NaN,NULL}', '{"",NULL,"NULL","a,b","{}","\"\\"}', '{0.1,-0,1e300}', '{2024-01-01 00:00+00,infinity}',
    '{1 mon 2 days 03:04:05}', '{"\\x00ff"}', '{sad,"so, so"}', '{"(0.1,1.50,2024-01-01 00:00+00,1 day,\"\\\\x00\",sad,pg_class)",NULL}',
    '(0.1,1.50,"2024-01-01 00:00+00","1 day 02:00","\\x5c","so, so",audit_nested.sample)',
    ROW('a "label"', ARRAY[ROW(1, 2.0, NULL, NULL, NULL, NULL, NULL)::point3], '[2024-01-01 00:00+00,)'), ARRAY[ROW(NULL, NULL, NULL)::holder, NULL],
    '{1,2}', ROW('x', NULL, 'empty'), '{(1,1),(0,0);(2,2),(0.1,0)}', '{1.5,-2}', '{pg_class,audit_nested.sample}',
    '[1,5]', '(1.50,]', '[2024-01-01 00:00+00,infinity]', '(,2024-01-01)', '[0.1,0.3)', '[sad,"so, so")', NULL, '{"[1,2)",empty}',
    '{[1,2),[5,9)}', '{[2024-01-01 00:00+00,2024-02-01 00:00+00)}', '{[0.1,0.2),[0.3,)}', '{"{[2024-01-01,2024-02-01)}","{}"}');
INSERT INTO sample VALUES (
    '{}', '{}', '{}', '[0:1]={1,2}', '[-2:-1]={2024-01-01 00:00+00,NULL}', '{}', '{}', '{}', '{}',
    '(,,,,,,)', '(,,)', '{}', '{}', '(,,)', '{}', '{}', '{}',
    'empty', 'empty', 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}', '{}', '{}', '{}');
INSERT INTO sample (i, t) VALUES ('{{1,2},{3,NULL}}', '[2:3][-1:0]={{a,b},{c,d}}'), (NULL, '{{{a}}}');
ALTER TABLE sample ADD number integer GENERATED ALWAYS AS IDENTITY;

CREATE TABLE item (id integer PRIMARY KEY, LIKE sample);
SELECT architect.audit_enable('item');
DO $$
BEGIN
    FOR try IN 0..11 LOOP
        PERFORM set_config('DateStyle', ('{"ISO, MDY","SQL, DMY","Postgres, MDY",German}'::text[])[1 + try % 4], true),
                set_config('IntervalStyle', ('{postgres,sql_standard,iso_8601}'::text[])[1 + try % 3], true),
                set_config('TimeZone', ('{UTC,Asia/Tokyo,America/St_Johns,UTC,Europe/London}'::text[])[1 + try % 5], true),
                set_config('extra_float_digits', ('{1,-15,0,3}'::text[])[1 + try % 4], true),
                set_config('bytea_output', ('{hex,escape}'::text[])[1 + try % 2], true),
                set_config('search_path', ('{audit_nested,"pg_catalog, audit_nested",""}'::text[])[1 + try % 3], true),
                set_config('quote_all_identifiers', ('{off,on}'::text[])[1 + try % 2], true);
        INSERT INTO audit_nested.item SELECT 10 * try + number, * FROM audit_nested.sample;
    END LOOP;
END
$$;
SELECT new_values -> 'number' AS number, count(*) AS tries, count(DISTINCT (new_values - 'id')::text) AS different
FROM architect.audit_log
GROUP BY new_values -> 'number'
ORDER BY 1;
SELECT key, value FROM architect.audit_log, jsonb_each(new_values) WHERE record_id = '1' ORDER BY length(key), key COLLATE "C";
SELECT record_id, new_values -> 'i' AS i, new_values -> 't' AS t, new_values -> 'f' AS f, new_values -> 'tz' AS tz, new_values -> 'p' AS p
FROM architect.audit_log WHERE record_id BETWEEN '2' AND '4' AND length(record_id) = 1 ORDER BY id;
-- All of it comes back.
CREATE FUNCTION not_restored(kind regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    part record;
    same boolean;
BEGIN
    FOR part IN
        SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = kind AND attnum > 0
    LOOP
        EXECUTE format(
            'SELECT bool_and(ROW((log.new_values ->> %1$L)::%2$s)::record OPERATOR(pg_catalog.*=) ROW(item.%1$I)::record)
             FROM architect.audit_log AS log
             JOIN %3$s AS item ON log.record_id = item.id::text
             WHERE log.operation = ''INSERT''', part.attname, part.type, kind)
        INTO STRICT same;
        IF same IS NOT TRUE THEN
            RETURN NEXT part.attname;
        END IF;
    END LOOP;
END
$$;
SELECT * FROM not_restored('item');

-- A type that changes under the column is followed.
TRUNCATE item;
ALTER TYPE point3 ADD ATTRIBUTE more integer;
ALTER TYPE mood ADD VALUE 'glad';
ALTER TYPE mood RENAME VALUE 'sad' TO 'very sad';
INSERT INTO item (id, number, p, e) VALUES (1000, 0, ROW(1, 2, NULL, NULL, NULL, 'very sad', NULL, 7), '{glad}');
SELECT new_values -> 'p' AS p, new_values -> 'e' AS e FROM architect.audit_log WHERE record_id = '1000';
ALTER TYPE point3 DROP ATTRIBUTE "y y";
UPDATE item SET p.more = 8 WHERE id = 1000;
SELECT old_values, new_values FROM architect.audit_log WHERE record_id = '1000' AND operation = 'UPDATE';

-- json is kept to the letter; jsonb stands in the log as what it is, numbers with their scale.
CREATE TABLE doc (id integer PRIMARY KEY, j json, b jsonb);
SELECT architect.audit_enable('doc');
INSERT INTO doc VALUES
    (1, '{"a": 1,   "a": 2, "b" : [1.0, null]}', '{"b": [1.0, null, {"c": "d"}], "a": {}}'),
    (2, 'null', 'null'), (3, NULL, NULL), (4, '"text"', '"text"'), (5, '1.50', '1.50'), (6, 'true', 'false'), (7, '[]', '[]'),
    (8, '{"": 1}', '{"": 1}'),
    (9, E'"\\u20ac"', E'"\\u20ac \\" \\\\"'), (10, '-0', '-0'), (11, '1e40', '1e40'), (12, '""', '""');
SELECT record_id, new_values -> 'j' AS json, new_values -> 'b' AS jsonb, new_values -> '' AS json_nulls,
       (new_values ->> 'j')::json::text = doc.j::text AS json_same,
       CASE WHEN new_values -> '' ? 'b' THEN 'null' ELSE nullif(new_values -> 'b', 'null') END IS NOT DISTINCT FROM doc.b AS jsonb_same
FROM architect.audit_log AS log
JOIN doc ON doc.id::text = record_id
WHERE table_name = 'doc'
ORDER BY log.id;
-- JSON null and SQL NULL differ, in an UPDATE too, and with several columns.
ALTER TABLE doc ADD a jsonb, ADD "c ""c" jsonb DEFAULT 'null';
UPDATE doc SET b = NULL WHERE id = 2;
UPDATE doc SET b = 'null', a = 'null' WHERE id = 3;
UPDATE doc SET b = 'null', j = NULL WHERE id = 3;
UPDATE doc SET "c ""c" = NULL WHERE id = 3;
DELETE FROM doc WHERE id IN (2, 3);
SELECT operation, record_id, old_values, new_values FROM architect.audit_log WHERE table_name = 'doc' AND operation <> 'INSERT' ORDER BY id;
-- Of a masked column not even that is told.
SELECT architect.audit_enable('doc', mask => '{b}');
UPDATE doc SET b = 'null', a = 'null' WHERE id = 4;
SELECT old_values, new_values FROM architect.audit_log ORDER BY id DESC LIMIT 1;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_nested CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_nested_owner;
