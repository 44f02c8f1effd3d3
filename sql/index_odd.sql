-- Tables that are not like others: of extensions, temporary, the server's own, not logged, foreign, heirs.
CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA odd;
SET search_path = odd;
SET architect.index_unused_after = 0;

-- All that is wrong with the indexes of one table; the catalogs say that it is big.
CREATE PROCEDURE spoil(target regclass)
    LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE INDEX ON %1$s (a); CREATE INDEX ON %1$s (a); CREATE INDEX ON %1$s (a, b);
                    CREATE INDEX ON %1$s (doc); CREATE INDEX ON %1$s (nothing); CREATE INDEX ON %1$s (b, a);
                    CREATE INDEX ON %1$s (label); ANALYZE %1$s', target);
    UPDATE pg_index SET indisvalid = false WHERE indrelid = target AND indkey::text = '3 2';
    UPDATE pg_class
    SET relpages = relpages * CASE WHEN relname ~ '_label_idx$' THEN 500 ELSE 100 END, reltuples = reltuples * 100
    WHERE oid IN (SELECT target UNION SELECT indexrelid FROM pg_index WHERE indrelid = target);
END
$$;
CREATE PROCEDURE fill(target regclass)
    LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('INSERT INTO %1$s SELECT * FROM filling; UPDATE %1$s SET a = a + 1 WHERE id <= 2000', target);
    CALL spoil(target);
END
$$;
CREATE TABLE home (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
CREATE VIEW filling AS
    SELECT i AS id, i % 100 AS a, i AS b, '{}'::jsonb AS doc, NULL::int AS nothing, 'label ' || i AS label,
           NULL::int AS home
    FROM generate_series(1, 20000) AS i;

-- The plain one that others are held against.
CREATE TABLE plain (id int, a int, b int, doc jsonb, nothing int, label text, home int REFERENCES home)
    WITH (autovacuum_enabled = off);
CREATE UNLOGGED TABLE unlogged (LIKE plain, FOREIGN KEY (home) REFERENCES home) WITH (autovacuum_enabled = off);
CREATE TABLE of_extension (LIKE plain, FOREIGN KEY (home) REFERENCES home) WITH (autovacuum_enabled = off);
CREATE TABLE ancestor (LIKE plain, FOREIGN KEY (home) REFERENCES home) WITH (autovacuum_enabled = off);
CREATE TABLE heir (more text, FOREIGN KEY (home) REFERENCES home) INHERITS (ancestor) WITH (autovacuum_enabled = off);
CREATE MATERIALIZED VIEW seen WITH (autovacuum_enabled = off) AS SELECT * FROM filling;
CREATE TEMPORARY TABLE mine (LIKE plain);
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.odd_catalog (LIKE plain, FOREIGN KEY (home) REFERENCES home);
RESET allow_system_table_mods;
CALL fill('plain');
CALL fill('unlogged');
CALL fill('of_extension');
CALL fill('ancestor');
INSERT INTO heir SELECT *, 'more' FROM filling;
UPDATE heir SET a = a + 1 WHERE id <= 2000;
CALL spoil('heir');
CALL fill('mine');
CALL fill('pg_catalog.odd_catalog');
CALL spoil('seen');
ALTER EXTENSION pg_architect ADD TABLE of_extension;

-- Foreign tables alone, as heirs and as partitions.  They have no indexes, and nobody reads them.
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE abroad (id int, a int) SERVER nowhere;
CREATE FOREIGN TABLE heir_abroad () INHERITS (ancestor) SERVER nowhere;
CREATE TABLE tree (id int, a int, b int, doc jsonb, nothing int, label text, home int) PARTITION BY RANGE (id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (30000) WITH (autovacuum_enabled = off);
CREATE FOREIGN TABLE tree_abroad PARTITION OF tree FOR VALUES FROM (30000) TO (40000) SERVER nowhere;
CREATE INDEX tree_twin ON tree (a);
CALL fill('tree_1');

-- What another session has.
CREATE EXTENSION dblink;
SELECT split_part(current_setting('unix_socket_directories'), ',', 1) AS host \gset
SELECT dblink_connect('other', format('dbname=%L user=%L port=%s host=%L', current_database(), current_user,
                                      current_setting('port'), :'host'));
SELECT dblink_exec('other', 'SET search_path = odd');
SELECT dblink_exec('other', 'CREATE TEMPORARY TABLE theirs (LIKE plain)');
SELECT dblink_exec('other', 'CALL fill(''theirs'')');
SELECT count(*) FROM pg_class WHERE relname = 'theirs';
SELECT pg_stat_force_next_flush();

-- Rules, each alone, by what they found something about.
SELECT found.rule, found.cases,
       string_agg(found.relation::text, ' ' ORDER BY found.relation::text COLLATE "C") AS relations
FROM (SELECT found.rule, found.relation, count(*) AS cases
      FROM architect.index_advice_status AS status, architect.index_find(ARRAY[status.rule]) AS found
      GROUP BY found.rule, found.relation) AS found
GROUP BY found.rule, found.cases
ORDER BY found.rule COLLATE "C", found.cases;
SELECT count(*) FROM architect.index_advice WHERE relation::text ~ 'pg_toast|theirs|abroad';

-- Sizes are known of some.
SET client_min_messages = notice;
SELECT architect.index_size_estimate('CREATE INDEX ON mine (a)');
SELECT architect.index_size_estimate('CREATE INDEX ON pg_class (relname)');
SELECT architect.index_size_estimate('CREATE INDEX ON abroad (a)'); -- fails: no such indexes
SELECT architect.index_size_estimate('CREATE INDEX ON seen (b)') =
       architect.index_size_estimate('CREATE INDEX ON unlogged (b)') AS same;
SET client_min_messages = warning;

SELECT dblink_disconnect('other');
DROP EXTENSION dblink;
ALTER EXTENSION pg_architect DROP TABLE of_extension;
SET allow_system_table_mods = on;
DROP TABLE pg_catalog.odd_catalog;
DROP SCHEMA odd CASCADE;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;
DROP EXTENSION pg_architect;
