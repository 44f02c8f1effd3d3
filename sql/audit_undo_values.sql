-- An undo brings back every value exactly, whatever the settings are, and says
-- which columns it cannot bring back.

CREATE EXTENSION pg_architect;
CREATE SCHEMA audit_undo_values;
SET search_path = audit_undo_values;

-- Deletes, restores by undo, and compares a table; the text of each row must be the same.
CREATE FUNCTION undo_last(target regclass)
    RETURNS bigint
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN architect.audit_undo((SELECT log.transaction_id FROM architect.audit_log AS log
                                 WHERE log.table_name = (SELECT relname FROM pg_class WHERE oid = target)
                                   AND log.operation <> 'GAP'
                                 ORDER BY log.id DESC LIMIT 1));
EXCEPTION WHEN object_not_in_prerequisite_state OR string_data_right_truncation THEN
    DECLARE
        detail text;
    BEGIN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RAISE NOTICE '% % (%)', sqlstate, regexp_replace(sqlerrm, 'transaction \d+', 'transaction N'), detail;
        RETURN NULL;
    END;
END
$$;

CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
CREATE TYPE pair AS (a integer, "B b" text);
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE TABLE typed (
    "Key ""1""" integer, key2 timestamptz, b boolean, i2 smallint, i8 bigint, n numeric, n2 numeric(10, 3),
    f4 real, f8 double precision, t text, v varchar(5), c char(4), c1 "char", ba bytea, d date, ti time, tz timetz,
    ts timestamp, iv interval, m money, u uuid, j json, jb jsonb, x text, ip inet, bi bit(3), vb bit varying(8),
    ia integer[], ta text[], r int4range, tr tstzrange, mr int4multirange, e mood, p pair, pa pair[], po positive,
    pt point, rc regclass, nm name, "select" text,
    PRIMARY KEY ("Key ""1""", key2));
SELECT architect.audit_enable('typed');
INSERT INTO typed VALUES
    (1, '2026-01-31 23:30+02', true, -2, 9007199254740993, 12.500, 1.5, 0.1, '-0', E'a\n\\''"b', 'äöü', 'c', 'x',
     '\xdeadbeef', '2026-02-01', '10:00:01.5', '10:00+09', '2026-02-01 10:00', '-1 year 2 days -03:00:01.25', 1234.5,
     '00000000-0000-0000-0000-00000000000A', '{"b": 1,  "b": 2}', '{"a": [1, null, "x"]}', '<a>&amp;</a>', '10.0.0.1/8',
     B'101', B'10101', '[2:3]={1,NULL}', '{"a b",NULL,"NULL","{}"}', '[1,10)', '[2026-01-01 00:00+00,)', '{[1,3),[5,7)}',
     'it''s "ok"', '(1,"x,y")', ARRAY[(1, 'a"b')::pair], 5, '(1.5,-2)', 'typed', 'n', 's'),
    (2, 'infinity', false, 0, 0, 'NaN', 0, 'Infinity', 'NaN', '', '', '', '', '', '-infinity', '00:00', '00:00-12',
     'infinity', '0', -1, NULL, 'null', 'null', '', '::1', B'000', '', '{}', '{}', 'empty', '(,)', '{}', 'sad', '(,)',
     '{}', 1, '(NaN,0)', NULL, '', '');
INSERT INTO typed VALUES (3, '2026-01-01 00:00+00');
UPDATE typed SET jb = '"s"' WHERE "Key ""1""" = 3;
CREATE TABLE before AS SELECT typed::text FROM typed;
DELETE FROM typed;
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = sql_standard;
SET TimeZone = 'Asia/Tokyo';
SET extra_float_digits = 0;
SET bytea_output = escape;
SET standard_conforming_strings = off;
SET quote_all_identifiers = on;
SELECT undo_last('typed');
UPDATE typed SET b = NOT b, i2 = 1, n = 0, n2 = 0, f4 = 0, f8 = 0, t = 'x', v = 'x', c = 'x', c1 = 'y', ba = 'x',
    d = '2000-01-01', ti = '1:00', tz = '1:00+00', ts = '2000-01-01', iv = '1 day', m = 0::money, u = NULL, j = '1',
    jb = NULL, x = NULL, ip = NULL, bi = B'111', vb = B'1', ia = NULL, ta = '{x}', r = NULL, tr = NULL, mr = NULL, e = 'sad',
    p = NULL, pa = NULL, po = 9, pt = NULL, rc = 'before', nm = 'y', "select" = 'z',
    "Key ""1""" = "Key ""1""" + 10, key2 = '2000-01-01 00:00+00';
SELECT undo_last('typed');
RESET ALL;
SET search_path = audit_undo_values;
SELECT typed::text FROM typed EXCEPT TABLE before;
SELECT count(*) FROM typed;

-- A value that does not fit any more is refused and not cut.
DELETE FROM typed;
ALTER TABLE typed ALTER v TYPE varchar(2);
SELECT undo_last('typed');
DROP TABLE typed;

-- Generated columns follow; an identity is brought back on insert, and cannot be set.
CREATE TABLE made (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer,
                   twice integer GENERATED ALWAYS AS (a * 2) STORED, other integer GENERATED ALWAYS AS IDENTITY);
SELECT architect.audit_enable('made');
INSERT INTO made (a) VALUES (1), (2);
UPDATE made SET a = 5;
SELECT undo_last('made');
DELETE FROM made;
SELECT undo_last('made');
SELECT * FROM made ORDER BY id;
UPDATE made SET other = DEFAULT;
-- fails: the server does not let it be set
SELECT undo_last('made');

-- Masked and excluded columns keep what they have, or get their default; it is said once.
CREATE TABLE hidden (id integer PRIMARY KEY, a text, secret text DEFAULT 'none', noise text DEFAULT 'fresh');
SELECT architect.audit_enable('hidden', mask => '{secret}', exclude => '{noise}');
INSERT INTO hidden VALUES (1, 'a', 's', 'n'), (2, 'b', 's', 'n');
UPDATE hidden SET a = 'c', secret = 't', noise = 'm';
SELECT undo_last('hidden');
SELECT * FROM hidden ORDER BY id;
DELETE FROM hidden;
SELECT undo_last('hidden');
SELECT * FROM hidden ORDER BY id;
UPDATE hidden SET secret = 'u';
SELECT undo_last('hidden');
-- What looks like a mask is a value where nothing was masked.
UPDATE hidden SET a = '***';
UPDATE hidden SET a = 'd';
SELECT undo_last('hidden');
SELECT id, a FROM hidden;
SELECT architect.audit_enable('hidden', mask => '{secret,a}', exclude => '{noise}');
UPDATE hidden SET a = 'e';
SELECT architect.audit_enable('hidden', mask => '{secret}', exclude => '{noise}');
SELECT undo_last('hidden');
ALTER TABLE hidden ALTER secret DROP DEFAULT, ALTER secret SET NOT NULL;
DELETE FROM hidden;
-- fails: there is nothing to put there
SELECT undo_last('hidden');

-- Columns dropped since are left out, those added since get their default, and names are followed.
CREATE TABLE altered (id integer PRIMARY KEY, a text, b text);
SELECT architect.audit_enable('altered');
INSERT INTO altered VALUES (1, 'a', 'b');
DELETE FROM altered;
ALTER TABLE altered DROP a, ADD c integer DEFAULT 7;
ALTER TABLE altered RENAME b TO a;
SELECT undo_last('altered');
TABLE altered;
UPDATE altered SET a = 'x';
ALTER TABLE altered RENAME a TO "A A";
ALTER TABLE altered RENAME id TO key;
SELECT undo_last('altered');
TABLE altered;
SELECT record, complete FROM architect.audit_history('altered', '1');

-- Where a transaction did nothing but to a column that is gone, there is nothing to undo, and no conflict.
CREATE TABLE narrow (id integer PRIMARY KEY, x integer);
SELECT architect.audit_enable('narrow');
INSERT INTO narrow VALUES (1, 5);
UPDATE narrow SET x = 7;
ALTER TABLE narrow DROP x;
DELETE FROM narrow;
SELECT max(transaction_id) FILTER (WHERE operation = 'INSERT') AS made,
       max(transaction_id) FILTER (WHERE operation = 'UPDATE') AS changed
FROM architect.audit_log WHERE table_name = 'narrow' \gset
SELECT statement, conflict FROM architect.audit_undo_plan(:'changed');
SELECT architect.audit_undo(:'changed');
SELECT statement, conflict FROM architect.audit_undo_plan(:'made');

-- fails: values that were erased from the log
DELETE FROM altered;
UPDATE architect.audit_log SET old_values = old_values || '{"": [{"erased": "A A"}], "A A": null}'
WHERE table_name = 'altered' AND operation = 'DELETE';
SELECT undo_last('altered');

-- Partitioned tables go by their root, inherited ones by themselves.
CREATE TABLE "Sale of" (id integer, year integer, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
CREATE TABLE sale_1 PARTITION OF "Sale of" FOR VALUES IN (1);
CREATE TABLE sale_2 PARTITION OF "Sale of" FOR VALUES IN (2);
CREATE TABLE parent (id integer PRIMARY KEY, a text);
CREATE TABLE child () INHERITS (parent);
SELECT architect.audit_enable('"Sale of"'), architect.audit_enable('parent');
INSERT INTO "Sale of" VALUES (1, 1), (2, 1);
UPDATE "Sale of" SET year = 2;
SELECT undo_last('"Sale of"');
SELECT tableoid::regclass, * FROM "Sale of" ORDER BY id;
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (1, 'child');
UPDATE ONLY parent SET a = 'changed';
SELECT undo_last('parent');
SELECT tableoid::regclass, * FROM parent ORDER BY 1;

-- Nobody can put an operator or type of his own in the way.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.equal(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'taken in by %', current_user; END$$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = varchar, RIGHTARG = varchar);
CREATE DOMAIN hostile.varchar AS text CHECK (hostile.equal(value::pg_catalog.varchar, 'x'));
CREATE TABLE code (id varchar PRIMARY KEY, a varchar);
SELECT architect.audit_enable('code');
INSERT INTO code VALUES ('x', 'a'), ('y', 'b');
UPDATE code SET a = 'c';
SET search_path = hostile, audit_undo_values, pg_catalog;
SELECT audit_undo_values.undo_last('audit_undo_values.code');
SELECT version FROM architect.audit_history('audit_undo_values.code', 'x');
RESET search_path;
SELECT * FROM audit_undo_values.code ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA audit_undo_values, hostile CASCADE;
DROP EXTENSION pg_architect CASCADE;
