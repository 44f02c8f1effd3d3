-- Partitions come and go: what is attached is audited, what is detached is not
-- any more, and TRUNCATE is seen wherever it is aimed.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_ddl_owner;
CREATE SCHEMA audit_ddl AUTHORIZATION regress_ddl_owner;
SET SESSION AUTHORIZATION regress_ddl_owner;
SET search_path = audit_ddl;

-- What the log has got since the last look.
CREATE FUNCTION news()
    RETURNS TABLE (table_name text, operation text, record_id text, old_values jsonb, new_values jsonb, context jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('test.seen', true), ''), '0');
BEGIN
    PERFORM set_config('test.seen', max(log.id)::text, false) FROM architect.audit_log AS log;
    RETURN QUERY
        SELECT log.table_name, log.operation, log.record_id, log.old_values, log.new_values, log.context
        FROM architect.audit_log AS log
        WHERE log.id > seen
        ORDER BY log.id;
END
$$;

CREATE TABLE root (id integer PRIMARY KEY, a text) PARTITION BY RANGE (id);
SELECT architect.audit_enable('root');
-- A partition that is made, alone or with partitions of its own, and one that is attached.
CREATE TABLE part_1 PARTITION OF root FOR VALUES FROM (10) TO (20);
CREATE TABLE part_2 PARTITION OF root FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id);
CREATE TABLE part_2a PARTITION OF part_2 FOR VALUES FROM (20) TO (25);
CREATE TABLE part_3 (a text, gone integer, id integer NOT NULL);
ALTER TABLE part_3 DROP COLUMN gone;
INSERT INTO part_3 VALUES ('before', 30);
ALTER TABLE root ATTACH PARTITION part_3 FOR VALUES FROM (30) TO (40);
CREATE TABLE part_2b (id integer PRIMARY KEY, a text) PARTITION BY HASH (id);
CREATE TABLE part_2bb PARTITION OF part_2b FOR VALUES WITH (MODULUS 1, REMAINDER 0);
ALTER TABLE part_2 ATTACH PARTITION part_2b FOR VALUES FROM (25) TO (30);
-- Beside a temporary table of the same name.
CREATE TEMPORARY TABLE part_4 (id integer PRIMARY KEY, a text);
CREATE TABLE part_4 PARTITION OF root FOR VALUES FROM (40) TO (50);
SELECT relation, problem FROM architect.audit_status;
INSERT INTO root VALUES (10, 'made'), (20, 'below'), (25, 'deeper'), (31, 'attached'), (40, 'beside');
UPDATE part_3 SET a = 'after' WHERE id = 30;
INSERT INTO part_2bb VALUES (26, 'directly');
SELECT table_name, operation, record_id, old_values, new_values FROM news();

-- TRUNCATE of the root is one event; of a partition, one that names it.
TRUNCATE root;
SELECT * FROM news();
TRUNCATE part_1;
TRUNCATE part_2;
TRUNCATE part_2bb, part_3;
TRUNCATE part_4, audit_ddl.part_4;
SELECT * FROM news();
-- Named with the root it is part of the root's event; quotes are as always.
TRUNCATE root, part_1;
SET quote_all_identifiers = on;
TRUNCATE part_2bb;
RESET quote_all_identifiers;
SELECT * FROM news();
BEGIN;
TRUNCATE root;
TRUNCATE part_1;
COMMIT;
DO $$ BEGIN TRUNCATE root; TRUNCATE part_1; END $$;
SELECT operation, context FROM news();
-- Every row, once, and refused, in partitions too.
SELECT architect.audit_enable('root', truncate => 'rows');
INSERT INTO root VALUES (11, 'x'), (26, 'x'), (32, 'x');
TRUNCATE root, part_3;
INSERT INTO root VALUES (33, 'y'), (34, 'z');
TRUNCATE part_3;
SELECT table_name, operation, record_id, old_values, context
FROM news() WHERE operation = 'TRUNCATE' ORDER BY record_id COLLATE "C";
SELECT architect.audit_enable('root', truncate => 'refuse');
CREATE TABLE part_5 PARTITION OF root FOR VALUES FROM (50) TO (60);
-- fails: TRUNCATE is refused
TRUNCATE root;
-- fails: TRUNCATE is refused
TRUNCATE part_2b;
-- fails: TRUNCATE is refused
TRUNCATE part_5;

-- A partition that is detached is a table like others; its triggers do nothing.
SELECT architect.audit_enable('root');
INSERT INTO part_1 VALUES (12, 'x');
ALTER TABLE root DETACH PARTITION part_1;
ALTER TABLE part_2 DETACH PARTITION part_2b;
INSERT INTO part_1 VALUES (13, 'x');
UPDATE part_2bb SET a = 'y';
TRUNCATE part_1, part_2b;
SELECT operation, record_id FROM news();
-- It can be audited by itself then, and stop it.
SELECT architect.audit_enable('part_1', truncate => 'rows');
INSERT INTO part_1 VALUES (14, 'x');
TRUNCATE part_1;
SELECT table_name, operation, record_id FROM news();
SELECT architect.audit_disable('part_2b');
SELECT architect.audit_disable('part_2b');
-- fails: it is audited by itself, and would be twice
ALTER TABLE root ATTACH PARTITION part_1 FOR VALUES FROM (10) TO (20);
SELECT architect.audit_disable('part_1');
ALTER TABLE root ATTACH PARTITION part_1 FOR VALUES FROM (10) TO (20);
INSERT INTO part_1 VALUES (15, 'x');
TRUNCATE part_1;
SELECT table_name, operation, record_id, context FROM news();
SELECT relation, problem FROM architect.audit_status;

-- A partition whose trigger is missing or disabled is a problem of its root, and
-- is mended from there.
DROP TRIGGER architect_audit_truncate ON part_3;
SELECT relation, problem FROM architect.audit_status;
SELECT architect.audit_enable('root');
ALTER TABLE part_3 DISABLE TRIGGER architect_audit;
SELECT relation, problem IS NOT NULL AS problem FROM architect.audit_status;
SELECT architect.audit_enable('root');
SELECT relation, problem IS NOT NULL AS problem FROM architect.audit_status;

-- An audited table that becomes a partition of one that is not audited stays usable.
CREATE TABLE plain (id integer PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE plain_1 (id integer PRIMARY KEY, a text);
SELECT architect.audit_enable('plain_1');
ALTER TABLE plain ATTACH PARTITION plain_1 FOR VALUES FROM (0) TO (10);
INSERT INTO plain VALUES (1, 'x');
SELECT architect.audit_disable('plain_1');
INSERT INTO plain VALUES (2, 'x');
SELECT architect.audit_enable('plain');
INSERT INTO plain VALUES (3, 'x');
SELECT table_name, operation, record_id FROM news();

-- A partition may compute a column in a way of its own (from PostgreSQL 16 on), and
-- so from a masked one.
CREATE TABLE masked (id integer PRIMARY KEY, secret text, g text GENERATED ALWAYS AS (id::text) STORED) PARTITION BY RANGE (id);
CREATE TABLE masked_1 (id integer PRIMARY KEY, secret text, g text GENERATED ALWAYS AS (lower(secret)) STORED);
SELECT architect.audit_enable('masked', mask => '{secret}');
DO $$
BEGIN
    ALTER TABLE masked ATTACH PARTITION masked_1 FOR VALUES FROM (0) TO (10);
    INSERT INTO masked VALUES (1, 'In Clear');
EXCEPTION WHEN datatype_mismatch OR invalid_object_definition THEN NULL;
END
$$;
SELECT count(*) AS leaks FROM architect.audit_log AS log WHERE lower(log::text) LIKE '%in clear%';

DROP TABLE pg_temp.part_4;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_ddl CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_ddl_owner;
