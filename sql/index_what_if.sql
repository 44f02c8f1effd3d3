-- What a query would cost with other indexes: none is made, and nothing stays locked.
CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE ROLE regress_what_if_reader;
CREATE SCHEMA "What If";
SET search_path = "What If";
SET timezone = 'UTC';
CREATE TABLE orders (id int PRIMARY KEY, gone int, customer int, status text, placed timestamptz, "Amount" int)
    WITH (autovacuum_enabled = off);
ALTER TABLE orders DROP COLUMN gone;
INSERT INTO orders
SELECT i, i % 1000, CASE WHEN i % 100 = 0 THEN 'open' ELSE 'done' END, timestamptz '2026-01-01' + i * interval '1 minute', i % 77
FROM generate_series(1, 20000) AS i;
CREATE INDEX orders_placed ON orders (placed);
ANALYZE orders;
CREATE FUNCTION explain(query text, created text[] DEFAULT '{}', dropped regclass[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(line, ' +\(cost=.*', '') FROM architect.index_explain(query, created, dropped) AS line $$;

-- One row, with or without an index that serves.
SELECT cost_before > cost_after AS cheaper, indexes_used, index_sizes[1] BETWEEN 100000 AND 1000000 AS sized, error
FROM architect.index_what_if('SELECT * FROM orders WHERE customer = $1', '{CREATE INDEX ON orders (customer)}');
SELECT cost_before = cost_after AS same, indexes_used, index_sizes, plan_before, plan_after, error
FROM architect.index_what_if('SELECT * FROM orders WHERE id = 5');
SELECT cost_before < cost_after AS dearer, indexes_used, error
FROM architect.index_what_if('SELECT * FROM orders WHERE id = 5', '{}', '{orders_pkey}');
SELECT plan_before ~ 'Seq Scan' AS before, plan_after ~ '"Mine"' AS after, indexes_used
FROM architect.index_what_if('SELECT * FROM orders WHERE "Amount" = 5', ARRAY['CREATE INDEX "Mine" ON orders ("Amount")'], plans => true);

-- Names are those that the server would choose, and different from each other.
SELECT explain('SELECT * FROM orders WHERE customer = $1 OR lower(status) = ''open''',
               '{CREATE INDEX ON orders (customer), CREATE INDEX ON orders (lower(status))}');
SELECT explain('SELECT customer FROM orders WHERE customer = $1', '{CREATE INDEX ON orders USING hash (customer)}');
SELECT indexes_used
FROM architect.index_what_if('SELECT customer FROM orders WHERE customer < $1 ORDER BY 1',
    ARRAY['CREATE INDEX ON orders USING hash (customer)', 'CREATE INDEX ON orders (customer) INCLUDE (id)',
          'CREATE INDEX ON orders (customer)']);

-- Order, included columns, operator classes, collations.
SELECT explain('SELECT * FROM orders ORDER BY status DESC NULLS LAST, customer LIMIT 5',
               ARRAY['CREATE INDEX ON orders (status DESC NULLS LAST, customer)']);
SELECT explain('SELECT customer, id, status FROM orders WHERE customer < 10',
               ARRAY['CREATE INDEX ON orders (customer) INCLUDE (id, status)']);
SELECT explain('SELECT * FROM orders WHERE status LIKE ''op%''', '{CREATE INDEX ON orders (status text_pattern_ops)}');
SELECT explain('SELECT * FROM orders ORDER BY status COLLATE "POSIX" LIMIT 5',
               ARRAY['CREATE INDEX p ON orders (status COLLATE "POSIX", customer)']);
SELECT explain('SELECT * FROM orders WHERE placed < $1 AND id > 5',
               '{CREATE INDEX ON orders USING brin (placed)}', '{orders_placed,orders_pkey}');

-- An expression or a predicate counts wherever the table stands in the query.
SELECT explain('SELECT * FROM orders AS a JOIN orders AS b ON b.id = a.customer WHERE upper(b.status) = ''OPEN'' AND a.id < 5',
               '{CREATE INDEX ON orders (upper(status)), CREATE INDEX ON orders (id) WHERE id < 10}', '{orders_pkey}');
CREATE VIEW recent AS SELECT * FROM orders WHERE status = 'open';
SELECT explain('SELECT 1 FROM recent AS x JOIN recent AS y ON y.customer = x.customer WHERE x.id = 1',
               '{CREATE INDEX open_ones ON orders (customer) WHERE status = ''open''}');
SELECT explain('WITH o AS MATERIALIZED (SELECT * FROM recent WHERE customer = $1) SELECT * FROM o, (SELECT count(*) FROM orders WHERE customer = $2) AS c',
               '{CREATE INDEX open_ones ON orders (customer) WHERE status = ''open'', CREATE INDEX all_ones ON orders (customer)}');
SELECT explain('UPDATE orders SET status = $1 WHERE customer = $2', '{CREATE INDEX ON orders (customer)}');
SELECT indexes_used
FROM architect.index_what_if('SELECT 1 FROM orders WHERE customer = $1 AND id = (SELECT max(id) FROM recent WHERE recent."Amount" = 5)',
    ARRAY['CREATE INDEX i ON orders ("Amount") WHERE status = ''open''', 'CREATE INDEX ON orders (customer)'], '{orders_pkey}');

-- A function that the planner runs does not see them in queries of its own.
CREATE FUNCTION look() RETURNS int IMMUTABLE LANGUAGE plpgsql
AS $$ BEGIN RETURN (SELECT count(*) FROM orders WHERE customer = 3); END $$;
SELECT indexes_used, error
FROM architect.index_what_if('SELECT * FROM orders WHERE customer = look()', '{CREATE INDEX ON orders (customer)}');

-- Texts of pg_stat_statements are repaired; values make other plans than none.
SELECT explain('SELECT EXTRACT($1 FROM placed), placed - interval $2 day - interval (3) $3 FROM orders
                WHERE placed BETWEEN timestamp with time zone $4 AND date $5 + time $6');
SELECT cost_after < 20 AS rare, error
FROM architect.index_what_if('SELECT * FROM orders WHERE status = $1 AND customer = $2',
                             '{CREATE INDEX ON orders (status)}', parameters => '{nothing,5}');
SELECT indexes_used, error
FROM architect.index_what_if('SELECT * FROM orders WHERE status = $1',
                             '{CREATE INDEX o ON orders (id) WHERE status = ''open''}', parameters => '{open}');

-- Whatever is wrong is in the row.
SELECT query, error
FROM unnest(ARRAY['SELEC 1', '', 'SELECT 1; SELECT 2', 'VACUUM', 'SELECT * FROM nowhere', 'SELECT nothing FROM orders',
    'SELECT $1 IS NULL', 'SELECT 1 / 0', 'SELECT * FROM orders WHERE date $1 $2', 'COPY orders TO ''x''',
    'EXPLAIN SELECT 1', 'CREATE TABLE x AS SELECT 1', 'SELECT ' || repeat('(', 100000) || '1' || repeat(')', 100000)]) AS query,
    LATERAL (SELECT regexp_replace(error, ' for type.*', '') AS error FROM architect.index_what_if(query)) AS answer
WHERE length(query) < 1000 OR error IS NULL;
SELECT cost_before IS NOT NULL AS planned, cost_after, statement, error
FROM unnest(ARRAY['CREATE INDEX ON nowhere (id)', 'CREATE INDEX ON orders (nothing)', 'SELECT 1', 'CREATE INDEX ON recent (id)',
    'CREATE INDEX ON orders (now())', 'CREATE INDEX ON orders (id) WHERE placed < now()', 'CREATE INDEX ON orders USING gin (id)',
    'CREATE UNIQUE INDEX ON orders USING hash (id)', 'CREATE INDEX ON orders USING hash (id, customer)',
    'CREATE INDEX ON orders USING nothing (id)', 'CREATE INDEX ON pg_class (relpages)', NULL]) AS statement,
    architect.index_what_if('SELECT * FROM orders', ARRAY[statement]);
SELECT error FROM architect.index_what_if('SELECT * FROM orders', drop_indexes => '{orders}');
SELECT explain('SELEC 1');
SELECT * FROM architect.index_what_if(NULL) WHERE cost_before IS NOT NULL;
SELECT length(query) > 1000000 AS long, error
FROM (SELECT 'SELECT * FROM orders WHERE id IN (' || string_agg(i::text, ',') || ')' FROM generate_series(100000, 250000) AS i) AS text(query),
    architect.index_what_if(query, '{CREATE INDEX ON orders (id)}');

-- How often keys of several columns repeat is right where the rows of one are neighbours, and where they are not.
CREATE TABLE lines AS SELECT i / 5 AS order_id, i % 5 < 2 AS is_returned, product, product % 7 AS kind, repeat('x', 60) AS note
FROM generate_series(0, 299999) AS i, LATERAL (SELECT i % 6000 * 7919 % 60000) AS of (product);
ANALYZE lines;
CREATE FUNCTION size_error(columns text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    statement text := format('CREATE INDEX measured ON lines (%s)', columns);
    guess float8 := (SELECT index_sizes[1] FROM architect.index_what_if('SELECT 1', ARRAY[statement]));
    size float8;
BEGIN
    EXECUTE statement;
    size := pg_relation_size('measured');
    DROP INDEX measured;
    RETURN CASE WHEN abs(guess / size - 1) > 0.1 THEN guess / size - 1 ELSE 0 END;
END $$;
SELECT columns, size_error(columns) AS beyond_a_tenth
FROM unnest('{"order_id, is_returned","order_id, product","product, kind","kind, product","kind, is_returned"}'::text[]) AS columns;

-- Who may not run the query is not told what it costs.
GRANT USAGE ON SCHEMA "What If" TO regress_what_if_reader;
SET ROLE regress_what_if_reader;
SELECT * FROM architect.index_what_if('SELECT * FROM orders WHERE id = 1', '{CREATE INDEX ON orders (id)}', plans => true);
SELECT * FROM architect.index_what_if('SELECT 1', '{CREATE INDEX ON orders (id)}', plans => true);
RESET ROLE;
GRANT SELECT ON orders TO regress_what_if_reader;
SET ROLE regress_what_if_reader;
SELECT indexes_used, error
FROM architect.index_what_if('SELECT * FROM orders WHERE customer = 1', '{CREATE INDEX ON orders (customer)}');
SELECT error FROM architect.index_what_if('DELETE FROM orders WHERE customer = 1', '{CREATE INDEX ON orders (customer)}');
RESET ROLE;

-- Nothing was made, and no lock is left of it.
BEGIN;
SELECT error FROM architect.index_what_if('SELECT * FROM orders WHERE customer = 1', '{CREATE INDEX ON orders (customer)}');
SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND pid = pg_backend_pid();
COMMIT;
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1;
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE customer = 1;

DROP SCHEMA "What If" CASCADE;
DROP ROLE regress_what_if_reader;
DROP EXTENSION pg_architect;
