-- DDL of the odd kind does not make the past wrong: it is followed, or the past before it is refused.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_past_ddl_owner;
CREATE SCHEMA audit_past_ddl AUTHORIZATION regress_past_ddl_owner;
CREATE SCHEMA audit_past_ddl_parts AUTHORIZATION regress_past_ddl_owner;
SET SESSION AUTHORIZATION regress_past_ddl_owner;
SET search_path = audit_past_ddl;
SET client_min_messages = warning;
-- Hints have times in them.
\set VERBOSITY terse

-- A trigger that goes by another name is not ours any more.
CREATE TABLE renamed (id integer PRIMARY KEY, a text);
SELECT architect.audit_enable('renamed');
INSERT INTO renamed VALUES (1, 'a');
SELECT architect.audit_mark('renamed') IS NOT NULL AS marked;
ALTER TRIGGER architect_audit ON renamed RENAME TO mine;
INSERT INTO renamed VALUES (2, 'a');
-- fails: not audited any more
SELECT * FROM architect.audit_as_of(NULL::renamed, mark => 'renamed');
SELECT * FROM architect.audit_verify('renamed');
SELECT architect.audit_baseline('renamed');
SELECT architect.audit_restore('renamed', '1', 1);

-- The server lets ALTER VIEW rename the column of a table, and ALTER TYPE that of a typed one.
CREATE TABLE plain (id integer PRIMARY KEY, a text);
CREATE TYPE shape AS (id integer, a text);
CREATE TABLE typed OF shape (PRIMARY KEY (id));
SELECT architect.audit_enable('plain'), architect.audit_enable('typed');
INSERT INTO plain VALUES (1, 'a');
INSERT INTO typed VALUES (1, 'a');
SELECT architect.audit_mark('plain') IS NOT NULL AS marked;
ALTER VIEW plain RENAME COLUMN a TO b;
ALTER TYPE shape RENAME ATTRIBUTE a TO b CASCADE;
UPDATE plain SET b = 'after';
UPDATE typed SET b = 'after';
SELECT * FROM architect.audit_as_of(NULL::plain, mark => 'plain');
SELECT * FROM architect.audit_as_of(NULL::typed, mark => 'plain');
SELECT * FROM architect.audit_verify('plain');

-- Under another key a record_id means another row.
CREATE TABLE keyed (id integer PRIMARY KEY, code text NOT NULL UNIQUE, a text);
SELECT architect.audit_enable('keyed');
INSERT INTO keyed VALUES (1, '2', 'a'), (2, '1', 'b');
SELECT architect.audit_mark('keyed') IS NOT NULL AS marked;
UPDATE keyed SET a = 'x' WHERE id = 1;
SELECT architect.audit_enable('keyed', key => '{code}');
-- fails: the key is another since
SELECT * FROM architect.audit_as_of(NULL::keyed, mark => 'keyed');
SELECT * FROM architect.audit_verify('keyed');

-- A value that its present type does not take is different, and the rest is verified.
CREATE TYPE pair AS (x integer, y text);
CREATE TABLE paired (id integer PRIMARY KEY, p pair);
SELECT architect.audit_enable('paired');
INSERT INTO paired VALUES (1, ROW(1, '1')), (2, NULL);
ALTER TYPE pair ADD ATTRIBUTE q integer;
SELECT * FROM architect.audit_verify('paired');

-- A partition that goes with its schema, and an empty one that is dropped.
CREATE TABLE root (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE audit_past_ddl_parts.leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE empty PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT architect.audit_enable('root');
INSERT INTO root VALUES (1);
SELECT architect.audit_mark('root') IS NOT NULL AS marked;
DROP TABLE empty;
SELECT * FROM architect.audit_as_of(NULL::root, mark => 'root');
DROP SCHEMA audit_past_ddl_parts CASCADE;
-- fails: rows are gone with it
SELECT * FROM architect.audit_as_of(NULL::root, mark => 'root');

-- A cursor planned for other columns reads no memory that is not theirs.
BEGIN;
DECLARE late CURSOR FOR SELECT id, b FROM architect.audit_as_of(NULL::plain, mark => 'plain');
ALTER TABLE plain ALTER b TYPE varchar(3) USING left(b, 3);
-- fails: planned for other columns
FETCH ALL FROM late;
ROLLBACK;

-- Three keys that change places are back where they were: no change at all.
CREATE TABLE swap (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT architect.audit_enable('swap');
INSERT INTO swap VALUES (1, 'one'), (2, 'two'), (3, 'three');
SELECT architect.audit_mark('swap') IS NOT NULL AS marked;
SELECT clock_timestamp() AS before \gset
UPDATE swap SET id = id % 3 + 1;
SELECT * FROM architect.audit_changes('swap', :'before') ORDER BY record_id;
SELECT * FROM architect.audit_as_of(NULL::swap, mark => 'swap') ORDER BY id;
UPDATE swap SET id = id % 3 + 1;
UPDATE swap SET id = id % 3 + 1;
SELECT * FROM architect.audit_changes('swap', :'before');
SELECT * FROM architect.audit_verify('swap');

RESET SESSION AUTHORIZATION;
DROP SCHEMA audit_past_ddl CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_past_ddl_owner;
