-- What cannot be backfilled is refused before anything is done, with the reason, the place
-- in the argument and what to do.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_backfill_owner;
CREATE ROLE regress_backfill_other;
CREATE SCHEMA backfill_refuse AUTHORIZATION regress_backfill_owner;
GRANT USAGE ON SCHEMA backfill_refuse TO regress_backfill_other;
CREATE FOREIGN DATA WRAPPER regress_backfill_wrapper;
CREATE SERVER regress_backfill_server FOREIGN DATA WRAPPER regress_backfill_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_backfill_server TO regress_backfill_owner;
SET SESSION AUTHORIZATION regress_backfill_owner;
SET search_path = backfill_refuse;

CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY,
    total numeric(8, 2),
    cents bigint,
    done boolean,
    tags text[],
    doc jsonb,
    doubled numeric GENERATED ALWAYS AS (total * 2) STORED
);
CREATE TABLE other (id integer);

-- The assignment.
-- fails: no such column
CALL architect.backfill('orders', set => 'cents = 1, centz = 2');
\echo :LAST_ERROR_SQLSTATE
-- fails: no such column in the value, with its place
CALL architect.backfill('orders', set => 'cents = 1, done = (totl > 0)');
-- fails: a system column, of either side
CALL architect.backfill('orders', set => 'xmin = 1');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'doc = to_jsonb(ctid)');
-- fails: a generated column
CALL architect.backfill('orders', set => 'doubled = DEFAULT');
\echo :LAST_ERROR_SQLSTATE
-- fails: an identity column
CALL architect.backfill('orders', set => 'id = 3');
\echo :LAST_ERROR_SQLSTATE
-- fails: an element
CALL architect.backfill('orders', set => 'tags[1] = ''a''');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'doc[''a''] = ''1''');
-- fails: a column twice
CALL architect.backfill('orders', set => 'cents = 1, (total, cents) = (2, 3)');
\echo :LAST_ERROR_SQLSTATE
-- fails: what the server refuses in an UPDATE
CALL architect.backfill('orders', set => 'cents = ''a''');
CALL architect.backfill('orders', set => 'cents = doc');
CALL architect.backfill('orders', set => 'cents = sum(cents)');
CALL architect.backfill('orders', set => 'cents = row_number() OVER ()');
CALL architect.backfill('orders', set => 'cents = generate_series(1, 2)');
CALL architect.backfill('orders', set => 'cents = $1');
CALL architect.backfill('orders', set => 'cents = other.id');
-- fails: more than assignments
CALL architect.backfill('orders', set => 'cents = 1 WHERE id = 1');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'cents = other.id FROM other');
CALL architect.backfill('orders', set => 'cents = 1 RETURNING *');
CALL architect.backfill('orders', set => 'cents = 1;');
CALL architect.backfill('orders', set => 'cents = 1; DROP TABLE orders');
CALL architect.backfill('orders', set => 'cents = 1) -- ');
CALL architect.backfill('orders', set => 'cents = 1 /* and');
CALL architect.backfill('orders', set => 'cents');
CALL architect.backfill('orders', set => '   ');
CALL architect.backfill('orders', set => NULL);
\echo :LAST_ERROR_SQLSTATE

-- The filter.
-- fails: not one boolean expression
CALL architect.backfill('orders', set => 'cents = 1', filter => 'cents');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'cents = 1', filter => 'done, cents IS NULL');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'cents = 1', filter => 'done AS finished');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'orders.*');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'done ORDER BY 1');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'true FROM other');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'true UNION SELECT true');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'done; DROP TABLE orders');
CALL architect.backfill('orders', set => 'cents = 1', filter => 'true) OR (true');
CALL architect.backfill('orders', set => 'cents = 1', filter => '');
-- fails: no such column, with its place
CALL architect.backfill('orders', set => 'cents = 1', filter => 'cents IS NULL
    AND dne');
-- fails: a system column
CALL architect.backfill('orders', set => 'cents = 1', filter => 'tableoid = ''orders''::regclass');
-- fails: an aggregate
CALL architect.backfill('orders', set => 'cents = 1', filter => 'max(cents) = 1');

-- Subqueries.
-- fails: not asked for
CALL architect.backfill('orders', set => 'cents = (SELECT max(id) FROM other)');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'cents = 1', filter => 'id IN (SELECT id FROM other)');
-- fails: several columns at once
CALL architect.backfill('orders', set => '(cents, total) = (SELECT 1, 2)', allow_subqueries => true);
-- fails: writes
CALL architect.backfill('orders', set => 'cents = 1', allow_subqueries => true,
                        filter => 'id IN (WITH w AS (INSERT INTO other VALUES (1) RETURNING id) SELECT id FROM w)');

-- Tables.
CREATE VIEW order_view AS SELECT * FROM orders;
CREATE FOREIGN TABLE order_foreign (id integer) SERVER regress_backfill_server;
CREATE TEMPORARY TABLE order_temporary (id integer);
CREATE TABLE order_rule (id integer);
CREATE RULE instead AS ON UPDATE TO order_rule DO INSTEAD NOTHING;
-- fails: not a table with rows here
CALL architect.backfill('order_view', set => 'cents = 1');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('order_foreign', set => 'id = 1');
CALL architect.backfill('order_temporary', set => 'id = 1');
CALL architect.backfill('pg_class', set => 'relname = ''x''');
CALL architect.backfill('architect.backfill_register', set => 'state = ''done''');
CALL architect.backfill(1, set => 'id = 1');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill(NULL, set => 'id = 1');
-- fails: a rule decides
CALL architect.backfill('order_rule', set => 'id = 1', filter => 'id IS NULL');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE order_rule DISABLE RULE instead;
CALL architect.backfill('order_rule', set => 'id = 1', filter => 'id IS NULL');

-- Partitions.
CREATE TABLE parts (id integer, region text, year integer, note text) PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north') PARTITION BY RANGE ((year + 1));
CREATE TABLE parts_north_all PARTITION OF parts_north DEFAULT;
-- fails: rows would move, by the key of this table, of one above or below it
CALL architect.backfill('parts', set => 'note = ''x'', region = ''north''');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('parts', set => 'year = 1');
CALL architect.backfill('parts_north_all', set => 'region = ''north''');
CREATE TABLE parts_loose (id integer, region text) PARTITION BY LIST (region);
CREATE FOREIGN TABLE parts_foreign PARTITION OF parts_loose FOR VALUES IN ('south') SERVER regress_backfill_server;
-- fails: a partition elsewhere
CALL architect.backfill('parts_loose', set => 'id = 1');

-- Rights.
GRANT ALL ON ALL TABLES IN SCHEMA backfill_refuse TO regress_backfill_other;
SET SESSION AUTHORIZATION regress_backfill_other;
-- fails: not the owner
CALL architect.backfill('orders', set => 'cents = 1');
\echo :LAST_ERROR_SQLSTATE
SET SESSION AUTHORIZATION regress_backfill_owner;
ALTER TABLE other ENABLE ROW LEVEL SECURITY;
-- The owner sees all rows.
CALL architect.backfill('other', set => 'id = 1', filter => 'id IS NULL');
ALTER TABLE other FORCE ROW LEVEL SECURITY;
-- fails: rows would be hidden
CALL architect.backfill('other', set => 'id = 1', filter => 'id IS NULL');
\echo :LAST_ERROR_SQLSTATE
SET row_security = off;
CALL architect.backfill('other', set => 'id = 1', filter => 'id IS NULL');
RESET row_security;

-- Other arguments.
-- fails: not a value
CALL architect.backfill('orders', set => 'cents = 1', walk => 'order');
\echo :LAST_ERROR_SQLSTATE
CALL architect.backfill('orders', set => 'cents = 1', on_error => 'ignore');
CALL architect.backfill('orders', set => 'cents = 1', max_rejects => -1);
CALL architect.backfill('orders', set => 'cents = 1', batch_time => '0');
CALL architect.backfill('orders', set => 'cents = 1', batch_time => '2 hours');
CALL architect.backfill('orders', set => 'cents = 1', lock_timeout => '-1s');
CALL architect.backfill('orders', set => 'cents = 1', max_lag => '-1s');
CALL architect.backfill('orders', set => 'cents = 1', max_wal_rate => -1);
CALL architect.backfill('orders', set => 'cents = 1', max_active_sessions => -1);
SELECT architect.backfill_start('orders', set => 'cents = 1', workers => 0);
SELECT architect.backfill_start('orders', set => 'cents = 1', workers => 1000);
-- fails: nothing can be written
BEGIN READ ONLY;
SELECT architect.backfill_start('orders', set => 'cents = 1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- Nothing came of all this.
RESET SESSION AUTHORIZATION;
SELECT assignment, filter, state FROM architect.backfill_jobs ORDER BY job;
DROP TABLE order_temporary;
DROP SCHEMA backfill_refuse CASCADE;
DROP EXTENSION pg_architect;
DROP FOREIGN DATA WRAPPER regress_backfill_wrapper CASCADE;
DROP ROLE regress_backfill_owner;
DROP ROLE regress_backfill_other;
