-- The indexes that are advised where it is clear what helps.
CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE SCHEMA "Advise Me";
SET search_path = "Advise Me";
SET timezone = 'UTC';
CREATE TABLE orders (id integer PRIMARY KEY, customer integer NOT NULL, status text, placed timestamptz, shipped timestamptz,
    total numeric, email text COLLATE "POSIX", name text COLLATE "en-x-icu", note text, data jsonb, tags text[])
    WITH (autovacuum_enabled = off);
INSERT INTO orders
SELECT i, i * 7919 % 1003, CASE WHEN i % 200 = 0 THEN 'open' ELSE 'done' END,
       timestamptz '2026-01-01' + (i * 7919 % 50000) * interval '1 minute',
       CASE WHEN i % 100 <> 0 THEN timestamptz '2026-02-01' + i * interval '1 minute' END, i * 31 % 9973,
       'U' || i * 7919 % 50000 || '@example.com', 'N' || i * 31 % 50000, repeat(md5(i::text), 4),
       jsonb_build_object('kind', i % 3001, 'n', i), ARRAY['t' || i % 2003, 'u' || i % 11]
FROM generate_series(1, 50000) AS i;
CREATE TABLE lines (order_id integer NOT NULL, product integer, quantity integer) WITH (autovacuum_enabled = off);
INSERT INTO lines SELECT i / 3, i * 7919 % 10007, i % 9 FROM generate_series(1, 100000) AS i;
CREATE TABLE events (id bigint NOT NULL, at date NOT NULL, visitor integer) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') WITH (autovacuum_enabled = off);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') WITH (autovacuum_enabled = off);
INSERT INTO events SELECT i, date '2026-01-01' + i % 59, i * 7919 % 10007 FROM generate_series(1, 40000) AS i;
CREATE TABLE "Odd ""Name" ("Key Part" integer, "select" text) WITH (autovacuum_enabled = off);
INSERT INTO "Odd ""Name" SELECT i * 7919 % 10007, 'x' || i FROM generate_series(1, 20000) AS i;
CREATE VIEW unshipped AS SELECT * FROM orders WHERE shipped IS NULL;
SELECT FROM pg_stat_force_next_flush();
VACUUM ANALYZE orders, lines, events, "Odd ""Name";

-- The statements, in the order of their rank: each index is one that some query uses.
CREATE FUNCTION advised(VARIADIC queries text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT replace(line, 'CONCURRENTLY ', '')
    FROM architect.index_advise(queries => advised.queries, time_limit => NULL) AS advice,
         regexp_split_to_table(statement, '\n') AS line
    ORDER BY rank $$;
\pset tuples_only

-- Equality first, then one range, or the order; what else is read is included where that is narrow.
SELECT advised('SELECT * FROM orders WHERE placed > ''2026-01-20'' AND customer = 5');
SELECT advised('SELECT * FROM orders ORDER BY placed DESC LIMIT 10');
SELECT advised('SELECT * FROM orders WHERE customer = 5 ORDER BY placed DESC LIMIT 3');
SELECT advised('SELECT sum(total) FROM orders WHERE customer BETWEEN 5 AND 200');
SELECT advised('SELECT note FROM orders WHERE customer = 5');
SELECT advised('SELECT max(placed) FROM orders');
SELECT advised('SELECT * FROM orders WHERE customer IN (5, 6, 7)');
SELECT advised('SELECT * FROM orders WHERE customer = $1 AND total = $2');

-- Few of the rows, expressions, and what a btree index does not serve.
SELECT advised('SELECT * FROM orders WHERE shipped IS NULL');
SELECT advised('SELECT * FROM orders WHERE lower(email) BETWEEN ''u5'' AND ''u51''');
SELECT advised('SELECT * FROM orders WHERE (data ->> ''n'') < ''10002''');
SELECT advised('SELECT * FROM orders WHERE data @> ''{"kind": 5}''');
SELECT advised('SELECT * FROM orders WHERE tags @> ''{t5}''');
SELECT advised('SELECT * FROM orders WHERE name LIKE ''N123%''');
SELECT advised('SELECT * FROM orders WHERE email LIKE ''U123%''');

-- Several conditions, tables, statements.
SELECT advised('SELECT * FROM orders WHERE customer = 5 OR total = 7');
SELECT advised('SELECT * FROM orders JOIN lines ON lines.order_id = orders.id WHERE orders.customer = 5');
SELECT advised('SELECT * FROM orders JOIN lines ON lines.order_id = orders.id WHERE lines.product = 5');
SELECT advised('SELECT * FROM orders WHERE EXISTS (SELECT FROM lines WHERE order_id = orders.id AND product = 5)');
SELECT advised('SELECT * FROM orders AS a JOIN orders AS b ON b.customer = a.customer WHERE a.id = 5');
SELECT advised('SELECT * FROM unshipped WHERE total = 5');
SELECT advised('WITH o AS MATERIALIZED (SELECT * FROM orders WHERE customer = 5) SELECT count(*) FROM o');
SELECT advised('SELECT note FROM orders WHERE customer = 5 UNION ALL SELECT order_id::text FROM lines WHERE product = 5');
SELECT advised('UPDATE orders SET note = NULL WHERE customer = 5', 'DELETE FROM lines WHERE product = 5');

-- On a partitioned table, and with names that need quotes.
SELECT advised('SELECT * FROM events WHERE visitor = 5');
SELECT advised('SELECT * FROM events_2 WHERE visitor = 5');
SELECT advised('SELECT * FROM "Odd ""Name" WHERE "Key Part" = 5');

-- One index may serve two queries, and stands for one that would serve one.
SELECT advised('SELECT * FROM orders WHERE customer = 5',
               'SELECT * FROM orders WHERE customer = 5 AND placed > ''2026-01-30''');

-- Nothing, where nothing helps: an index is there, the table is small, all is read, none can be made.
CREATE TABLE small (a integer);
INSERT INTO small SELECT generate_series(1, 20);
CREATE TEMPORARY TABLE fleeting AS SELECT * FROM lines;
ANALYZE small, fleeting;
SELECT advised('SELECT * FROM orders WHERE id = 5', 'SELECT * FROM small WHERE a = 5', 'SELECT 1',
    'SELECT sum(length(note)) FROM orders', 'INSERT INTO lines VALUES (1)', 'SELECT * FROM orders WHERE false',
    'SELECT * FROM pg_class WHERE relpages = 5', 'SELECT * FROM fleeting WHERE product = 5',
    'SELECT * FROM generate_series(1, 100000) AS i WHERE i = 5', 'SELECT * FROM orders WHERE random() < 0.1',
    'SELECT * FROM orders WHERE id + random() = 5');
\pset tuples_only off

-- A row has what is to be known.
SELECT rank, action, relation, size_bytes > 100000 AS sized, cost_after < cost_before AS better, write_cost,
       confidence, jsonb_path_query_array(queries, '$.number') AS numbers,
       jsonb_path_query_array(queries, '$.calls') AS calls, query_number, build_seconds > 0 AS takes, write_rows,
       wal_bytes, lost_hot, break_even, statistics_age < '1 hour' AS fresh
FROM architect.index_advise(queries => '{SELECT * FROM lines WHERE product = 5,SELECT count(data) FROM orders,SELEC,
    SELECT * FROM orders WHERE customer = 5}', weights => '{2,1,1,50}', time_limit => NULL);
SELECT bool_and(cost_before = coalesce(before, cost_before)) AS follows, bool_and(cost_after < cost_before) AS falls,
       bool_and(undo ~ '^DROP INDEX CONCURRENTLY "Advise Me".[a-z_]+;$') AS undone
FROM (SELECT *, lag(cost_after) OVER (ORDER BY rank) AS before
      FROM architect.index_advise(queries => '{SELECT * FROM lines WHERE product = 5,
          SELECT * FROM orders WHERE customer = 5}')) AS advice;

-- What is made serves, and is not advised again.
CREATE TABLE made AS
SELECT rank, replace(statement, 'CONCURRENTLY ', '') AS statement, replace(undo, 'CONCURRENTLY ', '') AS undo
FROM architect.index_advise(queries => ARRAY['SELECT * FROM events WHERE visitor = 5',
    'SELECT * FROM orders WHERE lower(email) = ''u5''', 'SELECT * FROM orders WHERE tags @> ''{t5}''',
    'SELECT * FROM "Odd ""Name" WHERE "Key Part" = 5'], time_limit => NULL);
CREATE TEMPORARY VIEW present AS
SELECT indexrelid::regclass::text AS index FROM pg_index JOIN pg_class AS c ON c.oid = indrelid
WHERE relnamespace = '"Advise Me"'::regnamespace;
CREATE TEMPORARY TABLE earlier AS SELECT * FROM present;
DO $$
DECLARE item record;
BEGIN
    FOR item IN SELECT statement FROM "Advise Me".made ORDER BY rank LOOP EXECUTE item.statement; END LOOP;
END $$;
SELECT index FROM present EXCEPT SELECT * FROM earlier ORDER BY 1;
VACUUM ANALYZE orders, events, "Odd ""Name";
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE tags @> '{t5}';
SELECT advised('SELECT * FROM events WHERE visitor = 5', 'SELECT * FROM orders WHERE lower(email) = ''u5''',
    'SELECT * FROM orders WHERE tags @> ''{t5}''', 'SELECT * FROM "Odd ""Name" WHERE "Key Part" = 5');

-- What undoes it leaves nothing.
DO $$
DECLARE item record;
BEGIN
    FOR item IN SELECT undo FROM "Advise Me".made ORDER BY rank DESC LOOP EXECUTE item.undo; END LOOP;
END $$;
SELECT index FROM present EXCEPT SELECT * FROM earlier;

SET client_min_messages = warning;
DROP SCHEMA "Advise Me" CASCADE;
DROP EXTENSION pg_architect;
