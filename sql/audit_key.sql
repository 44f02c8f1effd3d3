-- The log names a row by its key: the primary key, else the replica identity
-- index, or the columns that are asked for.  A table without one is refused.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_key_owner;
CREATE SCHEMA audit_key AUTHORIZATION regress_key_owner;
SET SESSION AUTHORIZATION regress_key_owner;
SET search_path = audit_key;

-- No key.
CREATE TABLE plain (a integer NOT NULL, b integer NOT NULL, c integer);
-- fails: no key
SELECT architect.audit_enable('plain');
\echo :LAST_ERROR_SQLSTATE
-- fails: no unique index
SELECT architect.audit_enable('plain', key => '{a}');
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX plain_index ON plain (a);
-- fails: the index is not unique
SELECT architect.audit_enable('plain', key => '{a}');
CREATE UNIQUE INDEX plain_partial ON plain (a) WHERE b > 0;
-- fails: the index is partial
SELECT architect.audit_enable('plain', key => '{a}');
CREATE UNIQUE INDEX plain_expression ON plain (a, (b + 1));
-- fails: the index has an expression
SELECT architect.audit_enable('plain', key => '{a,b}');
CREATE UNIQUE INDEX plain_nullable ON plain (a, c);
-- fails: a column can be NULL
SELECT architect.audit_enable('plain', key => '{a,c}');
-- The same while a NOT NULL is not proven yet, which PostgreSQL 18 has.
INSERT INTO plain VALUES (0, 0, NULL);
DO $$ BEGIN EXECUTE 'ALTER TABLE plain ADD CONSTRAINT plain_c NOT NULL c NOT VALID'; EXCEPTION WHEN syntax_error THEN NULL; END $$;
-- fails: a column can be NULL
SELECT architect.audit_enable('plain', key => '{a,c}');
DELETE FROM plain;
CREATE UNIQUE INDEX plain_include ON plain (b) INCLUDE (a);
-- fails: one column is only included in the index
SELECT architect.audit_enable('plain', key => '{b,a}');
-- fails: more columns than the index has
SELECT architect.audit_enable('plain', key => '{a,b}');
ALTER TABLE plain REPLICA IDENTITY FULL;
-- fails: the whole row is no key
SELECT architect.audit_enable('plain');
SELECT count(*) AS left_behind FROM pg_trigger WHERE tgname LIKE 'architect%';

-- A unique index whose columns are NOT NULL does, under the columns it has.
SELECT architect.audit_enable('plain', key => '{b}');
INSERT INTO plain VALUES (1, 2, 3);

-- The replica identity counts where there is no primary key.
CREATE TABLE identity (a integer NOT NULL, b integer NOT NULL);
CREATE UNIQUE INDEX identity_index ON identity (b, a);
ALTER TABLE identity REPLICA IDENTITY USING INDEX identity_index;
SELECT architect.audit_enable('identity');
INSERT INTO identity VALUES (1, 2);
-- From when it has one, the primary key counts.
ALTER TABLE identity ADD PRIMARY KEY (a);
UPDATE identity SET b = 3;
SELECT relation, key FROM architect.audit_status ORDER BY table_id;
-- And the replica identity again when it goes.
ALTER TABLE identity DROP CONSTRAINT identity_pkey;
DELETE FROM identity;
-- fails: the last key has gone
DROP INDEX identity_index;
INSERT INTO identity VALUES (4, 5);
SELECT relation, key, problem FROM architect.audit_status WHERE relation = 'identity'::regclass;
-- Under a new key the table works again.
ALTER TABLE identity ADD PRIMARY KEY (b);
INSERT INTO identity VALUES (6, 7);

-- A key that was asked for is missed as well; an index that is partial is no help.
CREATE UNIQUE INDEX plain_second_partial ON plain (b) WHERE a > 0;
DROP INDEX plain_include;
-- fails: no index keeps the key unique any more
INSERT INTO plain VALUES (4, 5, 6);
SELECT relation, problem IS NOT NULL AS problem FROM architect.audit_status WHERE relation = 'plain'::regclass;

-- A key of several columns is an array of texts, in the order that was asked for.
CREATE TABLE pairs (id integer PRIMARY KEY, a text NOT NULL, b integer NOT NULL, UNIQUE (a, b) DEFERRABLE);
SELECT architect.audit_enable('pairs', key => '{b,a}');
INSERT INTO pairs VALUES (1, 'x', 10), (2, 'a "quoted" \ text', 20), (3, '', 30), (4, E'line\nfeed', 40), (5, 'Ünï', 50);
SELECT record_id, record_id::jsonb ->> 1 = new_values ->> 'a' AS same FROM architect.audit_log WHERE table_name = 'pairs' ORDER BY id;
SELECT key FROM architect.audit_status WHERE relation = 'pairs'::regclass;
-- A column that is named twice counts once.
SELECT architect.audit_enable('pairs', key => '{a,b,a}');
SELECT key FROM architect.audit_status WHERE relation = 'pairs'::regclass;
-- fails: the columns of the chosen key cannot be hidden either
SELECT architect.audit_enable('pairs', key => '{a,b}', exclude => '{b}');
-- Those of the primary key are columns like others then.
SELECT architect.audit_enable('pairs', key => '{a,b}', exclude => '{id}');
INSERT INTO pairs VALUES (6, 'y', 60);

-- A primary key in another order than its columns.
CREATE TABLE turned (a integer, b text, c integer, PRIMARY KEY (c, b));
SELECT architect.audit_enable('turned');
INSERT INTO turned VALUES (1, 'two', 3);
SELECT table_name, operation, record_id, old_values, new_values
FROM architect.audit_log
WHERE table_name <> 'pairs' OR record_id LIKE '%y%'
ORDER BY id;

-- Keys of every kind are the text of the value, whatever the session's settings.
CREATE DOMAIN short AS varchar(3);
CREATE TYPE mood AS ENUM ('sad', 'so so');
CREATE TABLE kinds (
    b boolean, i2 smallint, i8 bigint, n numeric, f4 real, f8 float8, t text, c char(4), v short, nm name,
    u uuid, y bytea, d date, ts timestamp, tz timestamptz, tm time, iv interval, e mood, r int4range,
    ar text[], j jsonb, ip inet,
    PRIMARY KEY (b, i2, i8, n, f4, f8, t, c, v, nm, u, y, d, ts, tz, tm, iv, e, r, ar, j, ip));
SELECT architect.audit_enable('kinds');
SET DateStyle = 'German';
SET TimeZone = 'Asia/Tokyo';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
INSERT INTO kinds VALUES (
    true, -1, 9223372036854775807, 1.50, 0.1, 1e-300, 'text', 'ab', 'abc', 'name', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    '\x00ff', '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00+00', '12:00', '1 day 02:03', 'so so', '[1,5)',
    '{a,"b c"}', '{"k": 1}', '10.0.0.0/8');
RESET ALL;
SELECT jsonb_array_elements_text(record_id::jsonb) AS part FROM architect.audit_log WHERE table_name = 'kinds';

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_key CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_key_owner;
