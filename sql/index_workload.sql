-- What queries do with tables is read from their texts with the server's own parser.

CREATE EXTENSION pg_architect;
CREATE SCHEMA index_workload;
SET search_path = index_workload;

CREATE TABLE wl_orders (id integer PRIMARY KEY, gone text, customer_id integer, status text, email varchar(80),
                        created_at timestamptz, data jsonb, tags text[], active boolean, "Über Note" text);
ALTER TABLE wl_orders DROP COLUMN gone;
CREATE TABLE wl_customers (id integer PRIMARY KEY, name text, email text);
CREATE VIEW wl_view AS SELECT * FROM wl_orders;

CREATE FUNCTION understood(VARIADIC queries text[])
    RETURNS TABLE (relation regclass, predicates text, sort text, columns text, assigned text)
BEGIN ATOMIC
    SELECT access.relation, array_to_string(access.predicates, ' & '), array_to_string(access.sort, ', '),
           array_to_string(access.columns, ' '), array_to_string(access.assigned, ' ')
    FROM architect.index_workload(queries) WITH ORDINALITY AS access
    WHERE access.relation IS NOT NULL
    ORDER BY access.ordinality;
END;
\pset format unaligned
\pset tuples_only on

-- Operators, from both sides, and parameters where the grammar takes constants alone.
SELECT * FROM understood(
    'SELECT id FROM wl_orders WHERE status = $1 AND $2 <= created_at AND customer_id IN ($3, $4) AND email LIKE $5',
    'SELECT id FROM wl_orders WHERE created_at > now() - interval $1 AND created_at < date $2 AND EXTRACT($3 FROM created_at) = $4',
    'SELECT id FROM wl_orders WHERE created_at BETWEEN $1 AND timestamp with time zone $2 + interval $3 day',
    'SELECT id FROM wl_orders WHERE id = ANY ($1) AND $2 = ANY (tags) AND (status, id) = ($3, $4) AND (created_at, id) < ($5, $6)',
    'SELECT id FROM wl_orders WHERE active AND status IS NULL AND email IS NOT NULL AND active IS NOT TRUE',
    'SELECT id FROM wl_orders WHERE NOT active AND "Über Note" = ''it''''s'' AND customer_id = 7 AND "Über Note" ~ $1');

-- What need not hold for every row is left out.
SELECT * FROM understood(
    'SELECT id FROM wl_orders WHERE status = $1 OR customer_id = $2',
    'SELECT id FROM wl_orders WHERE NOT (status = $1 AND customer_id = $2) AND id NOT IN ($3)',
    'SELECT id FROM wl_orders WHERE customer_id = id AND no_such_column = $1');

-- Expressions stand as in an index definition; those with parameters are no such.
SELECT * FROM understood(
    'SELECT o.id FROM wl_orders o WHERE lower(o.email) = $1 AND (o.data ->> ''k'')::int > $2',
    'SELECT id FROM wl_orders WHERE data ->> $1 = $2 AND data @> $3 AND $4 <@ data AND data -> ''tags'' ? $5 AND tags && $6',
    'SELECT id FROM wl_orders WHERE email::text = $1 AND status::varchar = $2 AND index_workload.no_such(status) = $3');

-- Joins: a condition asks nothing of the rows that stay without a match.
SELECT * FROM understood(
    'SELECT o.id, c.name FROM wl_orders AS o JOIN wl_customers AS c ON c.id = o.customer_id WHERE c.email = $1',
    'SELECT o.id FROM wl_orders o LEFT JOIN wl_customers c ON c.id = o.customer_id AND o.status = $1 AND c.name = $2',
    'SELECT o.id FROM wl_orders o FULL JOIN wl_customers c ON c.id = o.customer_id AND c.name = $1',
    'SELECT name, status FROM wl_orders JOIN wl_customers USING (email) WHERE email = $1',
    'SELECT a.id FROM wl_orders a, wl_orders b WHERE a.id = b.customer_id AND b.id = $1');

-- Queries inside, and names that hide those of tables.
SELECT * FROM understood(
    'WITH wl_orders AS (SELECT id FROM wl_orders WHERE status = $1) SELECT * FROM wl_orders WHERE id = $2',
    'WITH RECURSIVE wl_orders AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM wl_orders WHERE id < $1) TABLE wl_orders',
    'SELECT name FROM wl_customers c WHERE EXISTS (SELECT FROM wl_orders WHERE customer_id = c.id AND status = $1)',
    'SELECT name FROM wl_customers WHERE id IN (SELECT customer_id FROM wl_orders WHERE status = $1)',
    'SELECT s.total FROM (SELECT count(*) AS total FROM wl_orders WHERE status = $1) AS s WHERE total > $2',
    'SELECT id FROM wl_orders WHERE status = $1 UNION SELECT id FROM wl_customers WHERE name = $2 ORDER BY id',
    'SELECT id FROM wl_view WHERE status = $1',
    'SELECT oid FROM pg_class WHERE relname = $1');

-- Order.
SELECT * FROM understood(
    'SELECT id, created_at AS t FROM wl_orders WHERE status = $1 ORDER BY t DESC, 1 DESC NULLS LAST LIMIT $2',
    'SELECT status, count(*) FROM wl_orders GROUP BY status ORDER BY status',
    'SELECT o.id FROM wl_orders o JOIN wl_customers c ON c.id = o.id ORDER BY o.status, c.name');

-- Changes.
SELECT * FROM understood(
    'UPDATE wl_orders o SET status = c.name, (email, active) = ($1, $2) FROM wl_customers c WHERE c.id = o.customer_id AND o.id = $3',
    'UPDATE index_workload.wl_orders SET data[''k''] = $1 WHERE id = $2 RETURNING *',
    'DELETE FROM wl_orders USING wl_customers c WHERE c.id = customer_id AND c.name = $1',
    'INSERT INTO wl_orders AS o (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET status = excluded.status, active = $2',
    'INSERT INTO wl_orders (id) SELECT id FROM wl_customers WHERE name = $1',
    'MERGE INTO wl_orders o USING wl_customers c ON o.customer_id = c.id AND c.name = $1
     WHEN MATCHED AND o.status = $2 THEN UPDATE SET email = c.email WHEN NOT MATCHED THEN DO NOTHING');

-- What is no query, or none that can be read, does no harm.
SELECT count(*) FROM understood('', 'nonsense $1', 'SELECT $1 $2', NULL, 'VACUUM', 'CREATE TABLE t (a int)', 'SELECT 1',
    'SELECT id FROM', 'EXPLAIN SELECT 1', 'SELECT interval $1, interval $22, $333 FROM nowhere', repeat('(', 100000),
    'TABLE index_workload.nowhere', 'SELECT id FROM nowhere.wl_orders WHERE id = $1', 'VALUES ($1), ($2)');

-- What is left out says why.
SELECT query_number, source, relation, problem FROM architect.index_workload(ARRAY['SELECT id FROM wl_orders WHERE id = $1',
    'SELECT $1 $2', NULL, 'VACUUM', 'SELECT 1', 'TABLE index_workload.nowhere', 'SELECT 1' || repeat(' UNION ALL SELECT 1', 100000)]);
SELECT query_number, source, relation, problem FROM architect.index_workload();

-- Nor does what is too deep for the stack, or would take too long.
SELECT count(*) FROM understood('SELECT 1' || repeat(' UNION ALL SELECT 1', 100000), 'SELECT 1' || repeat(' + 1', 100000),
    'SELECT FROM wl_orders a' || repeat(' JOIN wl_orders b ON true', 100000), 'SELECT interval $1' || repeat(', interval $2', 100000));

-- A name that several schemas have is that on the path that sessions begin with, or not known.
CREATE SCHEMA index_workload_two;
CREATE TABLE index_workload_two.wl_orders (id integer);
SELECT count(*) FROM understood('SELECT id FROM wl_orders WHERE id = $1');
SELECT relation, predicates FROM understood('SELECT id FROM index_workload_two.wl_orders WHERE id = $1');

-- Nothing is created by it, and no lock stays.
BEGIN READ ONLY;
SELECT count(*) FROM understood('SELECT id FROM index_workload.wl_orders WHERE lower(email) = $1');
SELECT count(*) FROM pg_locks WHERE relation = 'wl_orders'::regclass AND pid = pg_backend_pid();
COMMIT;

DROP SCHEMA index_workload, index_workload_two CASCADE;
DROP EXTENSION pg_architect;
