-- What is found about foreign keys without an index: how grave, and what is to be run.
CREATE EXTENSION pg_architect;
CREATE SCHEMA keys;
SET search_path = keys;
SET client_min_messages = warning;
CREATE ROLE regress_owner;
CREATE ROLE regress_other;
GRANT USAGE, CREATE ON SCHEMA keys TO regress_owner, regress_other;

CREATE FUNCTION advice(target regclass) RETURNS TABLE (columns text[], severity text, confidence text, foreign_keys text,
    statement text, undo text, lock text) LANGUAGE sql AS $$
    SELECT columns, severity, confidence, evidence ->> 'foreign_keys', statement, undo, lock
    FROM architect.index_missing_foreign_key
    WHERE relation = target ORDER BY columns
$$;

-- A tiny table is a hint; so is one whose referenced table loses no rows, with more confidence.
CREATE TABLE parent (id int PRIMARY KEY, note text) WITH (fillfactor = 100, autovacuum_enabled = off);
CREATE TABLE child (id int, parent int REFERENCES parent, note text) WITH (autovacuum_enabled = off);
INSERT INTO parent SELECT n, 'note' FROM generate_series(1, 1000) AS n;
ANALYZE parent, child;
\x
SELECT * FROM advice('child');
INSERT INTO child SELECT n, n % 900 + 1, repeat('x', 100) FROM generate_series(1, 10000) AS n;
ANALYZE child;
SELECT * FROM advice('child');

-- Updates alone may have changed the key, or not: a hint.  Deletes make it a warning.
UPDATE parent SET id = id + 1000 WHERE id > 990;
SELECT pg_stat_force_next_flush();
SELECT severity, confidence, reason FROM architect.index_missing_foreign_key;
DELETE FROM parent WHERE id > 1990;
SELECT pg_stat_force_next_flush();
SELECT severity, confidence, reason, evidence - '{stats_since,table_bytes,bytes_read_a_check}'::text[] AS evidence,
       (evidence -> 'table_bytes')::bigint = pg_relation_size('child') AS size,
       (evidence -> 'bytes_read_a_check')::bigint = pg_relation_size('child') AS reads, columns
FROM architect.index_missing_foreign_key;
\x
CREATE INDEX CONCURRENTLY child_parent_idx ON keys.child USING btree (parent);
SELECT * FROM architect.index_missing_foreign_key;
DROP INDEX CONCURRENTLY keys.child_parent_idx;
SELECT columns, severity FROM advice('child');
DROP TABLE child;

-- Keys on the same columns are one finding; so are those whose columns are among others'.
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b), UNIQUE (b, a));
CREATE TABLE child (a int REFERENCES parent, "B b" int, c int REFERENCES parent,
    FOREIGN KEY (a, "B b") REFERENCES pair, FOREIGN KEY ("B b", a) REFERENCES pair (b, a));
SELECT columns, foreign_keys, statement FROM advice('child');
ALTER TABLE child ADD FOREIGN KEY ("B b") REFERENCES parent;
SELECT columns, foreign_keys, statement FROM advice('child');
-- The order is such that no index becomes redundant.
CREATE INDEX ON child (a);
SELECT columns, foreign_keys FROM advice('child');
ALTER TABLE child DROP CONSTRAINT "child_B b_fkey";
SELECT columns, foreign_keys FROM advice('child');
DROP TABLE child;

-- An index of some columns is told, and what it leaves to be read.
CREATE TABLE child (a int, b int, FOREIGN KEY (a, b) REFERENCES pair);
INSERT INTO pair SELECT n % 10, n FROM generate_series(1, 100) AS n;
INSERT INTO child SELECT pair.a, pair.b FROM pair, generate_series(1, 500);
CREATE INDEX child_a ON child (a);
ANALYZE child;
SELECT columns, confidence, reason, evidence ->> 'narrowed_by' AS narrowed_by,
       round((evidence -> 'table_bytes')::numeric / (evidence -> 'bytes_read_a_check')::numeric) AS share
FROM architect.index_missing_foreign_key;
DROP TABLE child;

-- Where the types differ so that each value is cast, there is no index that would do.
CREATE TABLE numbers (n numeric PRIMARY KEY);
CREATE TABLE child (n int CONSTRAINT child_n REFERENCES numbers, m int);
SELECT columns, reason, statement FROM architect.index_missing_foreign_key;
CREATE INDEX ON child ((n::numeric));
SELECT undecided, reason FROM architect.index_advice_status WHERE rule = 'missing_foreign_key';
DROP TABLE child;

-- The collation is the one that the check asks for; from 18 on the two must be one.
DO $$
BEGIN
    IF current_setting('server_version_num')::int < 180000 THEN
        CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false);
        CREATE TABLE texts (t text COLLATE loose PRIMARY KEY);
        CREATE TABLE child (t text);
        ALTER TABLE child ADD FOREIGN KEY (t) REFERENCES texts;
        ASSERT (SELECT statement LIKE '%(t COLLATE keys.loose);' FROM architect.index_missing_foreign_key);
        CREATE INDEX ON child (t);
        ASSERT (SELECT count(*) = 1 FROM architect.index_missing_foreign_key);
        CREATE INDEX ON child (t COLLATE loose);
        ASSERT (SELECT count(*) = 0 FROM architect.index_missing_foreign_key);
        DROP TABLE child, texts;
    END IF;
END
$$;

-- References to itself, dropped columns, keys that are not valid yet, heirs.
CREATE TABLE tree (gone int, id int PRIMARY KEY, parent int REFERENCES tree, other int);
ALTER TABLE tree DROP gone;
ALTER TABLE tree ADD FOREIGN KEY (other) REFERENCES parent NOT VALID;
CREATE TABLE heir () INHERITS (tree);
SELECT relation, columns, evidence ->> 'foreign_keys' AS keys FROM architect.index_missing_foreign_key ORDER BY columns;
DROP TABLE tree CASCADE;

-- Temporary tables and those of extensions are left out; others' are seen by pg_monitor.
CREATE TEMPORARY TABLE session_parent (id int PRIMARY KEY);
CREATE TEMPORARY TABLE session_child (id int REFERENCES session_parent);
CREATE TABLE child (id int REFERENCES parent);
ALTER EXTENSION pg_architect ADD TABLE child;
SELECT relation FROM architect.index_missing_foreign_key;
ALTER EXTENSION pg_architect DROP TABLE child;
ALTER TABLE child OWNER TO regress_owner;
SET ROLE regress_owner;
SELECT relation, columns FROM architect.index_missing_foreign_key;
SET ROLE regress_other;
SELECT relation FROM architect.index_missing_foreign_key;
RESET ROLE;
GRANT pg_monitor TO regress_other;
SET ROLE regress_other;
SELECT relation, statement FROM architect.index_missing_foreign_key;
RESET ROLE;

DROP SCHEMA keys CASCADE;
DROP ROLE regress_owner, regress_other;
DROP EXTENSION pg_architect;
