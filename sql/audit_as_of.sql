-- audit_as_of gives a table as it was, in the columns that it has now: values of
-- every type, records whose key has changed, columns altered since, partitions.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_as_of_owner;
CREATE SCHEMA audit_as_of AUTHORIZATION regress_as_of_owner;
SET SESSION AUTHORIZATION regress_as_of_owner;
SET search_path = audit_as_of;

CREATE FUNCTION mark(name text) RETURNS void LANGUAGE sql AS $$ SELECT architect.audit_mark(name) $$;

-- Values of every type come back as they were, whatever the session's settings are then.
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TYPE pair AS (x integer, y jsonb, z text[]);
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE TABLE kinds (
    id integer PRIMARY KEY, doc jsonb, docs jsonb[], doc_text json, numbers integer[], words text[][], one pair, many pair[],
    days daterange, times tstzmultirange, number numeric, scaled numeric(10, 3), small real, double double precision,
    bytes bytea, at timestamptz, local timestamp, day date, span interval, clock timetz, feeling mood, feelings mood[],
    rank positive, fixed char(5), short varchar(10), bits bit(5), more_bits varbit, price money, words_of tsvector, who uuid,
    host inet, relation regclass, place point, flag boolean, path jsonpath);
SELECT architect.audit_enable('kinds');
INSERT INTO kinds VALUES
    (1, 'null', '{"null", "1.0", NULL}', '{"b":1,  "a":[1.50]}', '{1, NULL, 3}', '{{a, "b c"}, {NULL, "NULL"}}',
     ROW (1, 'null', '{"", NULL}'), ARRAY[ROW (1, '{"k": "v"}', NULL)::pair, NULL],
     '[2024-01-02,2024-02-03)', '{[2024-01-02 03:04:05.678+02,infinity)}', 1.500, 2.5, 1.1, 1e-300,
     '\xdeadbeef00', '2024-03-31 02:30:00.123456+01', 'infinity', '-infinity', '-1 mon +3 days -02:03:04.5',
     '12:34:56.789+05:30', 'fine', '{sad, NULL}', 5, 'ab', '', B'10101', B'', '12.34', 'a:1A b',
     '00000000-0000-0000-0000-00000000000a', '10.0.0.1/8', 'audit_as_of.kinds', '(1,2)', false, '$.a[*] ? (@ > 1)'),
    (2, '"null"', '{}', 'null', '{}', '{}', ROW (NULL, NULL, NULL), '{}', 'empty', '{}', -0.0, 0, 'Infinity', '-0', '',
     '2024-01-01 BC', '294276-12-31 23:59:59.999999', '5874897-12-31', '1 year -1 day', '00:00+00', 'sad', '{}', 1, '', ' x ',
     B'00000', B'1', '-0.01', '', 'ffffffff-0000-0000-0000-00000000000a', '::1', 'pg_class', '(NaN,Infinity)', true, '$');
INSERT INTO kinds (id, number, double, at) VALUES (3, 'NaN', 'NaN', '-infinity');
CREATE TABLE wanted AS SELECT * FROM kinds;
SELECT mark('kinds');
UPDATE kinds
SET id = id + 10, doc = '{}', docs = NULL, doc_text = '{}', numbers = '{9}', words = NULL, one = NULL, many = NULL, days = NULL,
    times = NULL, number = 9, scaled = 9, small = 9, double = 9, bytes = 'x', at = now(), local = now(), day = now(), span = '0',
    clock = '1:00', feeling = 'sad', feelings = NULL, rank = 9, fixed = 'z', short = 'z', bits = NULL, more_bits = NULL,
    price = 9, words_of = NULL, who = NULL, host = NULL, relation = NULL, place = NULL, flag = NULL, path = NULL;
DELETE FROM kinds WHERE id <> 11;
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = sql_standard;
SET TimeZone = 'Asia/Kathmandu';
SET extra_float_digits = -10;
SET bytea_output = escape;
SET quote_all_identifiers = on;
CREATE VIEW past AS SELECT * FROM architect.audit_as_of(NULL::kinds, mark => 'kinds');
SELECT count(*) FROM past;
-- Nothing is different; json alone comes back as equal, not the same text.
SELECT wanted.id, key, to_jsonb(wanted) -> key AS wanted, to_jsonb(past) -> key AS given
FROM wanted
FULL JOIN past USING (id)
CROSS JOIN LATERAL jsonb_object_keys(to_jsonb(wanted)) AS key
WHERE to_jsonb(wanted) -> key IS DISTINCT FROM to_jsonb(past) -> key;
SELECT id, doc IS NULL AS no_doc, jsonb_typeof(doc) AS doc, number, scaled, docs[3] IS NULL AS no_third FROM past ORDER BY id;
RESET DateStyle;
RESET IntervalStyle;
RESET TimeZone;
RESET extra_float_digits;
RESET bytea_output;
RESET quote_all_identifiers;

-- Records whose key has changed, is used by another, or comes again.
CREATE TABLE item (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('item');
INSERT INTO item VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');
SELECT mark('first');
UPDATE item SET id = 10 WHERE id = 1;
INSERT INTO item VALUES (1, 'other one');
UPDATE item SET name = 'one, later' WHERE id = 10;
DELETE FROM item WHERE id IN (2, 3);
INSERT INTO item VALUES (2, 'two again');
SELECT mark('second');
UPDATE item SET id = 3 WHERE id = 1;
UPDATE item SET id = 1 WHERE id = 10;
DELETE FROM item WHERE id IN (1, 4);
INSERT INTO item VALUES (7, 'short life');
DELETE FROM item WHERE id = 7;
SELECT * FROM architect.audit_as_of(NULL::item, mark => 'first') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::item, mark => 'second') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::item, at => 'infinity') EXCEPT TABLE item;
-- At the very time of a change it is there, unless it was committed a while later.
INSERT INTO item VALUES (21, 'x');
INSERT INTO item VALUES (22, 'x');
SELECT log.record_id,
       EXISTS (SELECT FROM architect.audit_as_of(NULL::item, at => log.changed_at) AS past WHERE past.id = 21) AS first,
       EXISTS (SELECT FROM architect.audit_as_of(NULL::item, at => log.changed_at) AS past WHERE past.id = log.record_id::integer)
       = NOT EXISTS (SELECT FROM architect.audit_commits AS late WHERE late.transaction_id = log.transaction_id) AS itself
FROM architect.audit_log AS log
WHERE log.record_id = '22';

-- Keys that are swapped in one statement.
CREATE TABLE swap (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT architect.audit_enable('swap');
INSERT INTO swap VALUES (1, 'one'), (2, 'two'), (3, 'three');
SELECT mark('unswapped');
UPDATE swap SET id = 3 - id WHERE id < 3;
UPDATE swap SET id = id % 3 + 1;
SELECT * FROM architect.audit_as_of(NULL::swap, mark => 'unswapped') ORDER BY id;

-- Columns have the names that they have now.  Those that were not there then are
-- NULL, one that came in the place of another of that name too; one with a default is
-- there as soon as it is.
CREATE TABLE wide (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text, b integer, c text, d text,
                   computed text GENERATED ALWAYS AS (a || '!') STORED);
SELECT architect.audit_enable('wide');
INSERT INTO wide (a, b, c, d) VALUES ('a1', 1, 'c1', 'd1'), ('a2', 2, 'c2', 'd2'), ('a3', 3, 'c3', 'd3'), ('a4', 4, 'c4', 'd4');
SELECT mark('wide');
UPDATE wide SET a = 'A', b = 20, c = 'C', d = 'D' WHERE id = 1;
DELETE FROM wide WHERE id = 2;
ALTER TABLE wide RENAME a TO swapped;
ALTER TABLE wide RENAME c TO a;
ALTER TABLE wide RENAME swapped TO c;
ALTER TABLE wide DROP d;
ALTER TABLE wide ADD d text DEFAULT 'another d', ADD e integer NOT NULL DEFAULT 4, ALTER b TYPE text;
UPDATE wide SET a = 'AA', c = 'CC', b = 'not a number', e = 5 WHERE id = 3;
SELECT mark('altered');
UPDATE wide SET a = 'AAA' WHERE id = 1;
SELECT * FROM architect.audit_as_of(NULL::wide, mark => 'wide') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::wide, mark => 'altered') ORDER BY id;
-- A value that was there meanwhile need not fit; one that is wanted must.
SELECT mark('text');
ALTER TABLE wide ALTER b TYPE integer USING length(b);
SELECT b FROM architect.audit_as_of(NULL::wide, at => 'infinity') ORDER BY id;
CREATE TABLE loose (id integer PRIMARY KEY, a text, one pair);
SELECT architect.audit_enable('loose');
INSERT INTO loose VALUES (1, 'words', ROW (1, '2', '{}'));
SELECT mark('words');
UPDATE loose SET a = '1';
ALTER TABLE loose ALTER a TYPE integer USING a::integer;
-- fails: it was no number
SELECT * FROM architect.audit_as_of(NULL::loose, mark => 'words');
ALTER TABLE loose DROP a;
SELECT mark('one');
UPDATE loose SET one = NULL;
ALTER TYPE pair ADD ATTRIBUTE w integer;
-- fails: it had another number of attributes
SELECT * FROM architect.audit_as_of(NULL::loose, mark => 'one');

-- What is excluded is not known; what is masked is not, once it or its row has changed.
CREATE TABLE card (id integer PRIMARY KEY, name text, number text, seen text,
                   last text GENERATED ALWAYS AS (right(number, 1)) STORED);
SELECT architect.audit_enable('card', mask => '{number}', exclude => '{seen}');
INSERT INTO card VALUES (1, 'Ann', '4111', 'x'), (2, 'Bob', '5500', 'y'), (3, 'Cid', '3700', 'z'), (4, 'Dan', '6011', 'z');
SELECT mark('masked');
UPDATE card SET name = 'Anna' WHERE id = 1;
UPDATE card SET number = '5511' WHERE id = 2;
DELETE FROM card WHERE id = 3;
SELECT architect.audit_enable('card');
SELECT mark('open');
UPDATE card SET number = '5522', seen = 'w' WHERE id = 2;
SELECT * FROM architect.audit_as_of(NULL::card, mark => 'masked') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::card, mark => 'open') ORDER BY id;

-- A row of a partition that has its columns in another order, and one that has moved.
CREATE TABLE sale (id integer, year integer, note text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
CREATE TABLE sale_1 (gone integer, note text, year integer NOT NULL, id integer NOT NULL);
ALTER TABLE sale_1 DROP gone;
ALTER TABLE sale ATTACH PARTITION sale_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE sale_2_default PARTITION OF sale_2 DEFAULT;
SELECT architect.audit_enable('sale');
INSERT INTO sale VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 11, 'c'), (4, 12, 'd');
SELECT mark('sale');
UPDATE sale SET year = year + 10 WHERE id = 1;
UPDATE sale SET year = year - 10 WHERE id = 3;
DELETE FROM sale_1 WHERE id = 2;
ALTER TABLE sale ADD more integer DEFAULT 3;
SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'sale') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::sale, at => 'infinity') EXCEPT TABLE sale;
-- fails: a partition
SELECT * FROM architect.audit_as_of(NULL::sale_1, mark => 'sale');

-- Children that inherit are tables of their own.
CREATE TABLE parent (id integer PRIMARY KEY, name text);
CREATE TABLE child (more integer) INHERITS (parent);
SELECT architect.audit_enable('parent');
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (2, 'child', 1);
SELECT mark('parent');
UPDATE parent SET name = 'new';
SELECT * FROM architect.audit_as_of(NULL::parent, mark => 'parent');

-- Large values.
CREATE TABLE large (id integer PRIMARY KEY, words text, bytes bytea);
ALTER TABLE large ALTER words SET STORAGE EXTERNAL;
SELECT architect.audit_enable('large');
INSERT INTO large SELECT n, repeat('x' || n, 500000), decode(repeat('ab', 300000), 'hex') FROM generate_series(1, 3) AS n;
SELECT mark('large');
UPDATE large SET words = 'small' WHERE id = 1;
DELETE FROM large WHERE id = 2;
SELECT id, words = repeat('x' || id, 500000) AS words, length(bytes) FROM architect.audit_as_of(NULL::large, mark => 'large') ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_as_of CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_as_of_owner;
