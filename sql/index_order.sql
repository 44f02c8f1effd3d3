-- The order of findings: the gravest first, then what saves most, then by name, each time the same.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA ranked;
SET search_path = ranked;
CREATE TABLE zebra (a int, b int) WITH (autovacuum_enabled = off);
CREATE TABLE small (a int, b int) WITH (autovacuum_enabled = off);
CREATE TABLE apple (a int, b text) WITH (autovacuum_enabled = off);
CREATE INDEX zebra_2 ON zebra (a);
CREATE INDEX zebra_1 ON zebra (a);
CREATE INDEX small_b_twin ON small (b);
CREATE INDEX small_b ON small (b);
CREATE INDEX small_a ON small (a);
CREATE INDEX small_ab ON small (a, b);
INSERT INTO apple SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) AS n;
CREATE INDEX apple_a ON apple (a);
CREATE INDEX apple_a_twin ON apple (a);
INSERT INTO zebra SELECT n, n FROM generate_series(1, 5000) AS n;
ANALYZE zebra, small, apple;
SELECT rule, severity, index FROM architect.index_find('{redundant,duplicate}');
SELECT array_agg(advice::text) = (SELECT array_agg(found::text) FROM architect.index_find() AS found) AS same
FROM architect.index_advice AS advice;

RESET search_path;
DROP SCHEMA ranked CASCADE;
DROP EXTENSION pg_architect;
