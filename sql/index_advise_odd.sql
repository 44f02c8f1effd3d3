-- Whatever queries there are, one that cannot be advised for is a row that says why.
CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE ROLE regress_advise_owner;
CREATE ROLE regress_advise_reader;
CREATE ROLE regress_advise_mallory;
CREATE SCHEMA advise_odd AUTHORIZATION regress_advise_owner;
CREATE SCHEMA evil AUTHORIZATION regress_advise_mallory;
GRANT USAGE ON SCHEMA advise_odd TO PUBLIC;
SET ROLE regress_advise_owner;
SET search_path = advise_odd;
CREATE TABLE orders (id integer PRIMARY KEY, customer integer, tenant text, wide text, data jsonb)
    WITH (autovacuum_enabled = off);
INSERT INTO orders SELECT i, i * 7919 % 5003, 'u' || i % 7, repeat(md5(i::text), 5), '{}' FROM generate_series(1, 20000) AS i;
CREATE TABLE closed AS SELECT * FROM orders;
CREATE VIEW shown AS SELECT * FROM closed WHERE id > 10;
CREATE TABLE secret (owner name, value integer);
INSERT INTO secret SELECT CASE WHEN i % 2 = 0 THEN 'regress_advise_reader' ELSE 'other' END, i FROM generate_series(1, 20000) AS i;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user);
GRANT SELECT ON orders, shown, secret TO PUBLIC;
ANALYZE orders, closed, secret;
CREATE FUNCTION advised(VARIADIC queries text[]) RETURNS TABLE (action text, number integer, text text) LANGUAGE sql AS $$
    SELECT action, query_number, coalesce(replace(statement, 'CONCURRENTLY ', ''), reason)
    FROM architect.index_advise(queries => advised.queries, time_limit => NULL) AS advice
    ORDER BY query_number, rank $$;

-- What is wrong, and one that is right among it.
SELECT queries[number] AS query, text
FROM (VALUES (ARRAY['SELEC 1', '', ' ', ';', '-- nothing', 'SELECT 1; SELECT 2', 'VACUUM', 'SELECT * FROM nowhere', 'SELECT nothing FROM orders',
    'SELECT 1 / 0', 'SELECT * FROM orders WHERE date $1 $2', 'COPY orders TO ''x''', 'EXPLAIN SELECT 1', 'DROP TABLE orders',
    'CREATE TABLE x AS SELECT 1', 'CALL nothing()', 'SELECT $0', 'SELECT ''open', 'SELECT * FROM orders FOR UPDATE OF nothing',
    'SELECT * INTO x FROM orders', 'DECLARE c CURSOR FOR SELECT 1', 'EXECUTE p', 'PREPARE p AS SELECT 1', 'BEGIN', 'TABLE other.orders',
    'SELECT sum(sum(id)) FROM orders', 'SELECT * FROM orders WHERE id = ''x''', 'SELECT * FROM a.b.c.d', 'LOCK orders',
    'REFRESH MATERIALIZED VIEW shown', 'SELECT E''\xff''', 'SELECT ''1'' + $1 || $1 = $1',
    'SELECT * FROM orders WHERE customer = 5'])) AS asked (queries), advised(VARIADIC queries);

-- Long, deep and many: no error, no end of the session.
SET client_min_messages = warning;
SELECT action, number, left(regexp_replace(text, ' \(currently .*| for type.*', ''), 100) AS text FROM advised(
    'SELECT * FROM orders WHERE customer IN (' || (SELECT string_agg(i::text, ',') FROM generate_series(100000, 260000) AS i) || ')',
    'SELECT ' || repeat('(', 100000) || '1' || repeat(')', 100000),
    'SELECT ' || repeat('NOT ', 100000) || 'true',
    'SELECT 1 FROM orders WHERE customer = 5' || repeat(' OR customer = 6', 20000),
    'SELECT 1 FROM orders WHERE customer = 5' || repeat(' AND customer <> 6', 20000),
    'SELECT ' || repeat('x', 1000000) || ' FROM orders',
    '/* ' || repeat('x', 1000000) || ' */ SELECT 1 FROM orders WHERE customer = 7' || repeat(' ', 1000000));
SELECT action, text ~ 'stack depth limit exceeded' AS too_deep FROM advised('SELECT 1' || repeat(' UNION ALL SELECT 1', 200000));
SELECT count(*) FROM architect.index_advise(queries => ARRAY(SELECT 'SELECT * FROM nowhere_' || i FROM generate_series(1, 2000) AS i));
RESET client_min_messages;

-- Nothing of the queries runs, whatever they call.
CREATE TABLE ran (by text);
CREATE FUNCTION run_volatile(integer) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO advise_odd.ran VALUES ('volatile'); RETURN $1; END $$;
CREATE FUNCTION run_immutable(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN INSERT INTO advise_odd.ran VALUES ('immutable'); RETURN $1; END $$;
CREATE SEQUENCE numbers;
SELECT action, text FROM advised('SELECT run_volatile(5)', 'SELECT * FROM orders WHERE id = run_volatile(5)', 'INSERT INTO ran VALUES (''insert'')',
    'DELETE FROM orders', 'SELECT nextval(''numbers'') FROM orders WHERE customer = run_volatile(5)',
    'WITH d AS (DELETE FROM orders WHERE customer = 5 RETURNING *) SELECT * FROM d', 'SELECT * FROM orders WHERE customer = run_immutable(5)');
SELECT * FROM ran;
SELECT count(*), (SELECT is_called FROM numbers) FROM orders;

-- Rights are those of who asks.  Functions of strangers are in no index, and run as who asks or not at all.
RESET ROLE;
CREATE FUNCTION evil.same(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'ran as %', current_user; RETURN $1; END $$;
ALTER FUNCTION evil.same(integer) OWNER TO regress_advise_mallory;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SELECT * FROM advised('SELECT * FROM orders WHERE evil.same(customer) = 5', 'SELECT * FROM orders WHERE evil.same(customer) = 5 AND customer = 7');
SET ROLE regress_advise_owner;
SELECT * FROM advised('SELECT * FROM orders WHERE evil.same(customer) = 5', 'SELECT * FROM orders WHERE evil.same(customer) = 5 AND customer = 7');
SET ROLE regress_advise_reader;
SELECT * FROM advised('SELECT * FROM orders WHERE customer = 5', 'SELECT * FROM closed WHERE customer = 5', 'UPDATE orders SET id = 1 WHERE tenant = ''u1''',
    'SELECT * FROM shown WHERE customer = 5', 'SELECT * FROM secret WHERE value = 5', 'SELECT * FROM secret WHERE value::text = ''5''');

-- A search_path with another's operators and tables in it changes nothing but what the queries say.
RESET ROLE;
SET ROLE regress_advise_mallory;
CREATE FUNCTION evil.equal(integer, integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.equal);
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION evil.pg_size_bytes(text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE TABLE evil.pg_statistic (starelid oid);
GRANT ALL ON evil.pg_statistic TO PUBLIC;
SET ROLE regress_advise_owner;
SET search_path = evil, advise_odd, pg_catalog;
SELECT count(*) AS indexes FROM architect.index_advise('10MB', '{SELECT * FROM orders WHERE customer OPERATOR(pg_catalog.=) 5}');
SELECT action, statement, reason FROM architect.index_advise('10MB', '{SELECT * FROM orders WHERE customer = 5,SELECT * FROM orders WHERE lower(tenant) = ''u1''}');
SET search_path = advise_odd;

-- In a transaction that is read only, and in a subtransaction; the locks are gone.
BEGIN READ ONLY;
SELECT action FROM advised('SELECT * FROM orders WHERE customer = 5');
SAVEPOINT s;
SELECT refused FROM architect.index_advise(queries => '{SELECT 1}', weights => '{NaN}') AS refused; -- fails: no weight
ROLLBACK TO s;
SELECT action FROM advised('SELECT * FROM orders WHERE customer = 5', 'DELETE FROM orders WHERE customer = 5');
SELECT mode FROM pg_locks WHERE relation = 'orders'::regclass AND pid = pg_backend_pid();
COMMIT;

-- A time limit that is over at once is an answer; the time of the statement being over is not, and does no harm.
SELECT count(*) AS skipped FROM architect.index_advise(queries => ARRAY(SELECT 'SELECT * FROM orders WHERE customer = ' || i
    FROM generate_series(1, 3000) AS i), time_limit => '1 microsecond') WHERE reason = 'time_limit was over before it could be planned';
SET statement_timeout = '150ms';
SELECT count(*) FROM architect.index_advise(queries => ARRAY(SELECT format('SELECT * FROM orders AS a JOIN orders AS b USING (customer) WHERE a.id = %s', i)
    FROM generate_series(1, 3000) AS i), time_limit => NULL); -- fails: canceled
RESET statement_timeout;
SELECT action FROM advised('SELECT * FROM orders WHERE customer = 5');

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA advise_odd, evil CASCADE;
DROP ROLE regress_advise_owner, regress_advise_reader, regress_advise_mallory;
DROP EXTENSION pg_architect;
