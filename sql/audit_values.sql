-- Values are exact: whatever the session's settings, a row gives the same bytes,
-- and each value comes back through the input function of its type.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_values_owner;
CREATE SCHEMA audit_values AUTHORIZATION regress_values_owner;
CREATE SCHEMA audit_values_other AUTHORIZATION regress_values_owner;
SET search_path = audit_values;
-- A type of an extension: nobody knows what its output function looks at.
SET client_min_messages = warning;
CREATE TYPE stamp;
CREATE FUNCTION stamp_in(cstring, oid, integer) RETURNS stamp LANGUAGE internal STABLE STRICT AS 'timestamptz_in';
CREATE FUNCTION stamp_out(stamp) RETURNS cstring LANGUAGE internal STABLE STRICT AS 'timestamptz_out';
CREATE TYPE stamp (INPUT = stamp_in, OUTPUT = stamp_out, LIKE = timestamptz);
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_values_owner;

CREATE TYPE mood AS ENUM ('sad', 'so "so"', 'Über, glücklich');
CREATE DOMAIN percent AS numeric(5, 2) CHECK (value <= 100);
CREATE DOMAIN "when" AS timestamptz;
CREATE TABLE sample (
    bool boolean, int2 smallint, int4 integer, int8 bigint, num numeric, num52 numeric(5, 2), f4 real, f8 float8,
    cash money, bytes bytea, ch4 char(4), vc varchar(10), txt text, "char" "char", nm name, b5 bit(5), vb varbit,
    uu uuid, net inet, cid cidr, mac macaddr, mac8 macaddr8, day date, tm time, tmtz timetz, ts timestamp, tstz timestamptz,
    iv interval, e mood, dp percent, dw "when", st stamp,
    lsn pg_lsn, x xid, x8 xid8, c cid, t tid, o oid, cls regclass, typ regtype, prc regprocedure, opr regoperator,
    nsp regnamespace, rol regrole, cfg regconfig, col regcollation, snap pg_snapshot, cur refcursor, acl aclitem,
    pnt point, ln line, seg lseg, bx box, pth path, pol polygon, crc circle, vec tsvector, qry tsquery, jp jsonpath,
    i2v int2vector, ov oidvector);
SET TimeZone = 'UTC';
INSERT INTO sample VALUES (
    true, -32768, -2147483648, -9223372036854775808, 1.50, -0.1, 0.1, 0.1,
    '-1234.5', '\x00ff5c41', 'ab', 'vc ', E'text "with" \\ all\n\tof it: Ünï, \u20AC', 'x', 'a name', B'00101', B'1',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
    '2024-02-29', '12:34:56.789', '12:34:56.789+05:30', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+05:30',
    '1 year 2 mons 3 days 04:05:06.7', 'so "so"', 99.9, '2024-07-01 00:00-03', '2024-07-01 00:00-03',
    '16/B374D848', '4294967295', '18446744073709551615', '42', '(7,8)', 4294967295, 'audit_values.sample', 'audit_values.mood',
    'pg_catalog.lower(text)', 'pg_catalog.+(integer,integer)', 'audit_values', 'regress_values_owner', 'pg_catalog.simple',
    'pg_catalog."C"', '10:20:10,14,15', 'a cursor', 'regress_values_owner=r/regress_values_owner',
    '(0.1,-0.2)', '{1,2,3.3}', '[(0,0),(0.1,1e-300)]', '(1,2),(0.5,0)', '[(0,0),(1,1)]', '((0,0),(1.1,1))', '<(0,0),0.1>',
    'a:1A b:2 ''the end'':3', '''a b'' & !c:*B', '$."a b"[*] ? (@ > 1.50)', '1 2 3', '1 2');
INSERT INTO sample VALUES (
    false, 32767, 2147483647, 9223372036854775807, 'NaN', 'NaN', 'NaN', 'NaN',
    '92233720368547758.07', '', '', '', '', '', '', B'00000', B'',
    '00000000-0000-0000-0000-000000000000', '::1', '::/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00',
    'infinity', '24:00', '24:00:00-15:59:59', 'infinity', 'infinity', '-178000000 years', 'Über, glücklich', 0, '-infinity', '-infinity',
    '0/0', '0', '0', '0', '(0,0)', 0, '-', '-', '-', '0', '-', '-', '-', '-', '10:10:', '', 'regress_values_owner=/regress_values_owner',
    '(NaN,Infinity)', '{0,-1,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '((0,0))', '((0,0))', '<(0,0),0>', '', 'x', '$', '', '');
INSERT INTO sample (num, f4, f8, iv, day, ts, tstz, tm, dw) VALUES
    ('Infinity', 'Infinity', 'Infinity', '-1 mon +2 days -03:04:05.000006', '4714-11-24 BC', '4714-11-24 00:00:00 BC',
     '4714-11-24 00:00:00+00 BC', '00:00', '0001-01-01 00:00:00+00 BC'),
    ('-Infinity', '-Infinity', '-Infinity', '0', '-infinity', '-infinity', '-infinity', '23:59:59.999999', 'infinity'),
    ('-0.000', '-0', '-0', '-1 year -2 days', '5874897-12-31', '294276-12-31 23:59:59.999999',
     '294276-12-31 23:59:59.999999+00', '12:00', '1900-01-01 00:00:00+00'),
    ('123456789012345678901234567890.123456789012345678901234567890', 3.4028235e38, 1.7976931348623157e308, '00:00:00.1',
     '0001-01-01', '0001-01-01 00:00:00.000001', '1883-11-18 12:03:57.5+00', '00:00:00.000001', '2000-01-01 00:00:00+00'),
    (1e100, 1.17549435e-38, 5e-324, '25:59:59', '9999-12-31', '9999-12-31', '10000-01-01 00:00+00', '01:02:03.004', NULL),
    (1e-100, 16777216, 1e22, '-00:00:01', '10000-01-01', '10000-01-01', '1000-01-01 00:00+00', '01:02:03.4', NULL),
    (0.00, 0, 123456789.12345678, '1 day -1 hour', '1999-12-31', '1999-12-31 23:59:59.5', '1999-12-31 23:59:59.5-00', '01:02', NULL);
INSERT INTO sample DEFAULT VALUES;
ALTER TABLE sample ADD number integer GENERATED ALWAYS AS IDENTITY;

-- The same rows again and again, under other settings each time.
CREATE TABLE item (id integer PRIMARY KEY, LIKE sample);
SELECT architect.audit_enable('item');
CREATE TABLE audit_values_other.sample (id integer);
CREATE TYPE audit_values_other.mood AS ENUM ('other');
CREATE PROCEDURE use_settings(try integer) LANGUAGE plpgsql AS $$
DECLARE
    setting record;
BEGIN
    FOR setting IN
        SELECT * FROM (VALUES
            ('DateStyle', '{"ISO, DMY","SQL, MDY","SQL, DMY","Postgres, DMY","Postgres, YMD",German,"ISO, MDY"}'::text[]),
            ('IntervalStyle', '{postgres,postgres_verbose,sql_standard,iso_8601}'),
            ('TimeZone', '{UTC,Asia/Tokyo,America/St_Johns,Africa/Monrovia,Europe/London,"<+03>-03"}'),
            ('extra_float_digits', '{-15,0,1,3,-1}'),
            ('bytea_output', '{hex,escape}'),
            ('lc_monetary', '{C,de_DE.UTF-8,POSIX,ja_JP.utf8,C.UTF-8,en_US.UTF-8}'),
            ('lc_numeric', '{C,de_DE.UTF-8}'),
            ('search_path', '{"pg_catalog, pg_temp","audit_values, public","audit_values_other, audit_values, pg_catalog","audit_values",""}'),
            ('quote_all_identifiers', '{off,off,on}'),
            ('standard_conforming_strings', '{on,on,off}'),
            ('backslash_quote', '{on,off}'),
            ('xmlbinary', '{base64,hex}')) AS choice (name, options)
    LOOP
        BEGIN
            PERFORM pg_catalog.set_config(setting.name, setting.options[1 + try % array_length(setting.options, 1)], true);
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL; -- This machine lacks the locale.
        END;
    END LOOP;
END
$$;
DO $$
BEGIN
    FOR try IN 1..60 LOOP
        CALL audit_values.use_settings(try);
        INSERT INTO audit_values.item SELECT 100 * try + sample.number, sample.* FROM audit_values.sample;
    END LOOP;
END
$$;
RESET ALL;
SET lc_monetary = 'C';
SET search_path = audit_values;
SELECT new_values -> 'number' AS number, count(*) AS tries, count(DISTINCT (new_values - 'id')::text) AS different
FROM architect.audit_log
GROUP BY new_values -> 'number'
ORDER BY 1;
-- So does a change, and a deletion.
DO $$
BEGIN
    FOR try IN 1..60 LOOP
        CALL audit_values.use_settings(try);
        DELETE FROM audit_values.item WHERE id / 100 = try;
    END LOOP;
END
$$;
SELECT count(*) AS records
FROM architect.audit_log AS came
JOIN architect.audit_log AS went USING (record_id)
WHERE came.new_values::text = went.old_values::text;

-- What they look like.
SELECT key, a.value AS first, b.value AS second
FROM (SELECT * FROM architect.audit_log, jsonb_each(new_values) WHERE record_id = '101') AS a
JOIN (SELECT * FROM architect.audit_log, jsonb_each(new_values) WHERE record_id = '102') AS b USING (key)
ORDER BY length(key), key COLLATE "C";
SELECT left((new_values -> 'num')::text, 40) AS num, left((new_values -> 'f4')::text, 40) AS f4, left((new_values -> 'f8')::text, 24) AS f8
FROM architect.audit_log
WHERE record_id BETWEEN '103' AND '109' AND operation = 'INSERT'
ORDER BY id;
SELECT new_values -> 'iv' AS iv, new_values -> 'day' AS day, new_values -> 'tm' AS tm, new_values -> 'ts' AS ts, new_values -> 'tstz' AS tstz
FROM architect.audit_log
WHERE record_id BETWEEN '103' AND '109' AND operation = 'INSERT'
ORDER BY id;

-- Through the input function of its type each value comes back as it was, to the
-- last bit; and so under other settings.
CREATE FUNCTION not_restored() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    part name;
    same boolean;
BEGIN
    FOR part IN
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = 'audit_values.sample'::regclass AND attnum > 0
    LOOP
        EXECUTE format(
            'SELECT bool_and(ROW((jsonb_populate_record(NULL::audit_values.sample, log.new_values)).%1$I)::record
                             OPERATOR(pg_catalog.*=) ROW(sample.%1$I)::record)
             FROM architect.audit_log AS log
             JOIN audit_values.sample ON log.record_id = (100 + sample.number)::text
             WHERE log.operation = ''INSERT''', part)
        INTO STRICT same;
        IF same IS NOT TRUE THEN
            RETURN NEXT part;
        END IF;
    END LOOP;
END
$$;
SELECT * FROM not_restored();
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = -5;
SELECT * FROM not_restored();
RESET ALL;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_values, audit_values_other CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_values_owner;
