-- The condition is one boolean expression over the row: the new row, and for
-- DELETE and TRUNCATE the old one.  It cannot become anything else.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_condition_owner;
CREATE ROLE regress_condition_app;
CREATE SCHEMA audit_condition AUTHORIZATION regress_condition_owner;
SET SESSION AUTHORIZATION regress_condition_owner;
SET search_path = audit_condition;
CREATE TABLE orders (id integer PRIMARY KEY, state text, price numeric, "Odd ""Name" boolean,
                     total numeric GENERATED ALWAYS AS (price * 2) STORED);
\set VERBOSITY terse
\set SHOW_CONTEXT never

-- fails: nothing there
SELECT architect.audit_enable('orders', condition => '');
\echo :LAST_ERROR_SQLSTATE
-- fails: nothing but a comment
SELECT architect.audit_enable('orders', condition => '-- true');
-- fails: a star is no expression
SELECT architect.audit_enable('orders', condition => '*');
\echo :LAST_ERROR_SQLSTATE
-- fails: nor is a star with a name
SELECT architect.audit_enable('orders', condition => 'orders.*');
-- fails: not complete
SELECT architect.audit_enable('orders', condition => 'state = ');
\echo :LAST_ERROR_SQLSTATE
-- fails: two expressions
SELECT architect.audit_enable('orders', condition => 'true, true');
-- fails: two statements
SELECT architect.audit_enable('orders', condition => 'true; DROP TABLE orders');
-- fails: two statements, the second empty of sense
SELECT architect.audit_enable('orders', condition => 'true) EXECUTE FUNCTION architect.audit_capture(''{}''); --');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true AS named');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true FROM orders');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true INTO stolen');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'DISTINCT true');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true WHERE true');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true ORDER BY 1');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true LIMIT 1');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true FOR UPDATE');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true UNION SELECT false');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true GROUP BY 1');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true HAVING true');
-- fails: more than an expression
SELECT architect.audit_enable('orders', condition => 'true WINDOW w AS ()');
-- fails: not boolean
SELECT architect.audit_enable('orders', condition => 'price');
\echo :LAST_ERROR_SQLSTATE
-- fails: no such column
SELECT architect.audit_enable('orders', condition => 'missing');
\echo :LAST_ERROR_SQLSTATE
-- fails: columns stand there without prefix
SELECT architect.audit_enable('orders', condition => 'new.state = old.state');
-- fails: a sub-query
SELECT architect.audit_enable('orders', condition => 'EXISTS (SELECT FROM pg_user)');
-- fails: an aggregate
SELECT architect.audit_enable('orders', condition => 'count(*) > 1');
-- fails: a window function
SELECT architect.audit_enable('orders', condition => 'rank() OVER () = 1');
-- fails: several rows
SELECT architect.audit_enable('orders', condition => 'generate_series(1, price::integer) = 1');
-- fails: a parameter
SELECT architect.audit_enable('orders', condition => '$1');
-- fails: no default here
SELECT architect.audit_enable('orders', condition => 'DEFAULT');
-- fails: no such function
SELECT architect.audit_enable('orders', condition => 'missing(id)');
\set VERBOSITY default
\set SHOW_CONTEXT errors
SELECT count(*) AS left_behind FROM pg_trigger WHERE tgname LIKE 'architect%';

-- A name that needs quotes, a comment at the end, the generated column and the table itself are fine.
SELECT architect.audit_enable('orders', condition => '"Odd ""Name" AND orders.total > 10 -- big ones');
SELECT condition FROM architect.audit_status;
INSERT INTO orders VALUES (1, 'a', 5.5, true), (2, 'b', 5, true), (3, 'c', 6, false), (4, 'd', 6, NULL);
-- An UPDATE is judged by its new row, a DELETE by the old one.
UPDATE orders SET price = 7 WHERE id IN (1, 2);
UPDATE orders SET price = 1 WHERE id IN (1, 2, 3);
UPDATE orders SET price = 9 WHERE id = 1;
DELETE FROM orders WHERE id IN (1, 2);
SELECT operation, record_id, old_values ->> 'price' AS old_price, new_values ->> 'price' AS new_price
FROM architect.audit_log
ORDER BY id;

-- TRUNCATE: one event says nothing of rows; each row is judged as if deleted.
INSERT INTO orders VALUES (5, 'e', 50, true);
TRUNCATE orders;
SELECT architect.audit_enable('orders', condition => 'state <> ''secret'' AND orders IS NOT NULL', truncate => 'rows');
INSERT INTO orders VALUES (6, 'plain', 1, true), (7, 'secret', 1, true), (8, NULL, 1, true), (9, 'plain', NULL, true), (10, 'plain', 2, true);
TRUNCATE orders;
SELECT operation, record_id FROM architect.audit_log WHERE operation = 'TRUNCATE' ORDER BY id;

-- A generated column that is not stored, which PostgreSQL 18 has, is computed for it.
CREATE TABLE virtual (id integer PRIMARY KEY, a integer);
DO $$
BEGIN
    EXECUTE 'ALTER TABLE virtual ADD COLUMN g integer GENERATED ALWAYS AS (a * 2) VIRTUAL';
EXCEPTION WHEN syntax_error THEN
    ALTER TABLE virtual ADD COLUMN g integer GENERATED ALWAYS AS (a * 2) STORED;
END
$$;
SELECT architect.audit_enable('virtual', condition => 'g > 2', truncate => 'rows');
INSERT INTO virtual VALUES (1, 1), (2, 2), (3, 3), (4, NULL);
UPDATE virtual SET a = 3 WHERE id = 1;
UPDATE virtual SET a = 1 WHERE id = 2;
DELETE FROM virtual WHERE id = 1;
TRUNCATE virtual;
SELECT operation, record_id FROM architect.audit_log WHERE table_name = 'virtual' ORDER BY id;

-- The condition is read under the caller's search_path once, and means the same ever after.
CREATE FUNCTION is_big(value numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT value > 100 $$;
SELECT architect.audit_enable('orders', condition => 'is_big(price)');
SET search_path = pg_catalog;
INSERT INTO audit_condition.orders VALUES (11, 'small', 1), (12, 'big', 1000);
ALTER FUNCTION audit_condition.is_big RENAME TO is_large;
ALTER TABLE audit_condition.orders RENAME COLUMN price TO amount;
INSERT INTO audit_condition.orders VALUES (13, 'small', 1), (14, 'big', 1000);
SELECT operation, record_id FROM architect.audit_log WHERE record_id::integer > 10 ORDER BY id;
-- fails: the condition depends on it
DROP FUNCTION audit_condition.is_large;
SET search_path = audit_condition;

-- It runs with the rights of who changes the row, and what it raises is raised.
CREATE FUNCTION whoami() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'judged as %', current_user; RETURN true; END $$;
TRUNCATE orders;
SELECT architect.audit_enable('orders', condition => 'whoami()', truncate => 'rows');
GRANT USAGE ON SCHEMA audit_condition TO regress_condition_app;
GRANT INSERT, TRUNCATE ON orders TO regress_condition_app;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_condition_app;
INSERT INTO orders VALUES (20);
TRUNCATE orders;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_condition_owner;
SELECT architect.audit_enable('orders', condition => '1 / id > 0');
-- fails: the expression does
INSERT INTO orders VALUES (0);

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_condition CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_condition_owner, regress_condition_app;
