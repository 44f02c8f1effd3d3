-- Advice keeps to what it is told, counts what is written, and says what is wrong with its arguments.
CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE SCHEMA advise_limits;
SET search_path = advise_limits;
CREATE TABLE orders (id integer PRIMARY KEY, customer integer, status text, total integer, note text)
    WITH (autovacuum_enabled = off);
INSERT INTO orders
SELECT i, i * 7919 % 5003, CASE WHEN i % 500 = 0 THEN 'open' ELSE 'done' END, i * 31 % 9973, repeat('x', 200)
FROM generate_series(1, 50000) AS i;
CREATE TABLE lines (id integer, product integer, quantity integer) WITH (autovacuum_enabled = off);
INSERT INTO lines SELECT i, i * 7919 % 10007, i % 9 FROM generate_series(1, 50000) AS i;
CREATE VIEW seen AS SELECT * FROM orders;
VACUUM ANALYZE orders, lines;
CREATE TABLE asked (query text);
INSERT INTO asked VALUES
('SELECT * FROM orders WHERE customer = 5'), ('SELECT * FROM orders WHERE total = 7'),
('SELECT * FROM orders WHERE status = ''open'''), ('SELECT * FROM lines WHERE product = 5'),
('SELECT count(*) FROM lines WHERE id BETWEEN 5 AND 50'), ('SELECT * FROM orders WHERE customer = 5 AND total = 7');

-- However much there may be, it is not exceeded; more gains no less.
WITH advice AS MATERIALIZED (
    SELECT kilobytes, a.* FROM unnest(ARRAY[0, 8, 30, 400, 800, 1600, 3200, 100000]) AS kilobytes
    CROSS JOIN LATERAL architect.index_advise(kilobytes || 'kB', ARRAY(SELECT query FROM asked), time_limit => NULL) AS a
), total AS (
    SELECT kilobytes, sum(size_bytes) AS bytes, min(cost_after) AS cost FROM advice GROUP BY kilobytes
)
SELECT bool_and(bytes <= kilobytes * 1024) AS kept, bool_and(cost <= earlier) AS falls, count(*) AS budgets
FROM (SELECT *, coalesce(lag(cost) OVER (ORDER BY kilobytes), cost) AS earlier FROM total) AS total;
SELECT count(*) FROM architect.index_advise('0', ARRAY(SELECT query FROM asked));

-- A small budget has a partial index take the place of the whole one.
SELECT statement FROM architect.index_advise('32kB', '{SELECT * FROM orders WHERE status = ''open''}');

-- So many at most: of more than one the best; on some tables only.
SELECT max_indexes, count(statement), max(rank)
FROM unnest('{0,1,2,100}'::integer[]) AS max_indexes
LEFT JOIN LATERAL architect.index_advise(queries => ARRAY(SELECT query FROM asked), max_indexes => max_indexes)
    ON true
GROUP BY max_indexes ORDER BY max_indexes;
SELECT statement
FROM architect.index_advise(queries => '{SELECT * FROM lines WHERE product = 5,SELECT * FROM orders WHERE customer = 5}',
                            weights => '{1,1000}', max_indexes => 1);
SELECT DISTINCT relation FROM architect.index_advise(queries => ARRAY(SELECT query FROM asked), tables => '{lines}');
SELECT DISTINCT relation FROM architect.index_advise(queries => ARRAY(SELECT query FROM asked), tables => '{}') ORDER BY 1;

-- A query that is not run is not advised for.
SELECT statement FROM architect.index_advise(queries => '{SELECT * FROM orders WHERE customer = 5}', weights => '{0}');

-- What is written has its cost: as often as this, no index is worth it; limited, none may add anything.
CREATE FUNCTION advised_with(writes float8, change text, max_write_overhead float8 DEFAULT NULL)
    RETURNS TABLE (statement text, writes_cost boolean, write_rows float8, wal boolean, lost_hot boolean, pays boolean)
LANGUAGE sql AS $$
    SELECT replace(statement, 'CONCURRENTLY ', ''), write_cost > 0, write_rows, wal_bytes > 0, lost_hot > 0, break_even > 1
    FROM architect.index_advise(queries => ARRAY['SELECT * FROM lines WHERE product = 5', change],
                                weights => ARRAY[1, writes], max_write_overhead => max_write_overhead) $$;
SELECT writes, advised.*
FROM unnest('{0,10,1e7}'::float8[]) AS writes
LEFT JOIN LATERAL advised_with(writes, 'INSERT INTO lines VALUES (1, 2, 3), (4, 5, 6)') AS advised ON true ORDER BY writes;
SELECT * FROM advised_with(10, 'INSERT INTO lines VALUES (1)', 0);
SELECT count(*) FROM advised_with(10, 'INSERT INTO lines VALUES (1)', 10000);
SELECT * FROM advised_with(1, 'UPDATE lines SET quantity = 5 WHERE product = 5');
SELECT writes_cost, wal, lost_hot FROM advised_with(1, 'UPDATE lines SET product = 5 WHERE id < 50 AND quantity = 3')
WHERE statement ~ 'product';
SELECT writes_cost, write_rows FROM advised_with(1, 'INSERT INTO orders VALUES (1)');

-- No query gets worse by more than it may: with less allowed, no more is gained.
SELECT bool_and(strictly >= freely) AS kept
FROM (SELECT (SELECT min(cost_after) FROM architect.index_advise(queries => ARRAY(SELECT query FROM asked), max_regression => 0)),
             (SELECT min(cost_after) FROM architect.index_advise(queries => ARRAY(SELECT query FROM asked), max_regression => NULL))
     ) AS advice (strictly, freely);

-- What an index tells of an expression makes no query worse: the planner took what most rows have for rare.
CREATE TABLE documents AS SELECT i AS id, i % 1000 AS customer,
    jsonb_build_object('state', CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'done' END) AS data FROM generate_series(1, 20000) AS i;
CREATE TABLE pages AS SELECT i % 20000 AS document, i AS number FROM generate_series(1, 40000) AS i;
CREATE INDEX ON pages (document);
ANALYZE documents, pages;
CREATE TABLE states (query text);
INSERT INTO states VALUES ($$SELECT * FROM documents WHERE data ->> 'state' = 'failed'$$),
    ($$SELECT * FROM documents JOIN pages ON document = id WHERE data ->> 'state' = 'done' ORDER BY customer$$);
SELECT cost_after > 2 * cost_before AS seems_worse
FROM states, architect.index_what_if(query, $${CREATE INDEX ON documents ((data ->> 'state'))}$$);
SELECT statement FROM architect.index_advise(queries => ARRAY(SELECT query FROM states), weights => '{100,1}', max_regression => 0);

-- Arguments that make no sense.
CREATE FUNCTION refused(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE format('SELECT FROM architect.index_advise(%s)', arguments);
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws('; ', SQLSTATE, SQLERRM, nullif(hint, ''));
END $$;
SELECT arguments, refused(format($$queries => '{SELECT 1}', %s$$, arguments))
FROM unnest(ARRAY[$$budget => '-1'$$, $$budget => 'much'$$, $$budget => ''$$, $$weights => '{}'$$, $$weights => '{1,2}'$$,
    $$weights => '{NULL}'$$, $$weights => '{-1}'$$, $$weights => '{NaN}'$$, $$weights => '{inf}'$$, $$max_indexes => -1$$,
    $$max_write_overhead => -1$$, $$max_write_overhead => 'NaN'$$, $$max_regression => -0.1$$, $$max_regression => 'NaN'$$,
    $$time_limit => '0'$$, $$time_limit => '-1s'$$, $$time_limit => '1000000 years'$$, $$tables => '{NULL}'$$,
    $$tables => '{seen}'$$, $$tables => '{orders_pkey}'$$, $$tables => '{0}'$$, $$tables => ARRAY[pg_class.oid] FROM pg_class$$,
    $$max_regression => 'inf', max_write_overhead => 'inf', time_limit => '100 years', budget => '1TB', weights => '{0}'$$,
    $$max_indexes => NULL, max_regression => NULL, time_limit => NULL, weights => NULL, tables => NULL, budget => NULL$$
    ]) AS arguments;
SELECT refused($$queries => '{NULL}'$$), refused($$queries => '{}'$$), refused($$queries => '{{SELECT 1},{SELECT 2}}'$$);
SELECT refused($$weights => '{1}'$$);

SET client_min_messages = warning;
DROP SCHEMA advise_limits CASCADE;
DROP EXTENSION pg_architect;
