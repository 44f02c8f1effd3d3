-- What a role with a schema of its own can do to those who ask for advice: nothing.
CREATE EXTENSION pg_architect;
CREATE ROLE regress_mallory;
CREATE ROLE regress_reader;
CREATE SCHEMA evil AUTHORIZATION regress_mallory;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id integer, email text);

-- Functions that raise an error unless their owner, or the owner of the table, runs them.
SET ROLE regress_mallory;
CREATE FUNCTION evil.f(number integer, trap text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_user <> 'regress_mallory' THEN
        RAISE EXCEPTION '% ran as %', trap, current_user;
    END IF;
    RETURN number;
END $$;
CREATE FUNCTION evil.less(a integer, b integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN evil.f(a, 'an operator') < b;
END $$;
CREATE OPERATOR evil.< (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.less, RESTRICT = scalarltsel);
CREATE FUNCTION evil.array_position(anyarray, text) RETURNS integer LANGUAGE sql IMMUTABLE AS
    $$ SELECT evil.f(1, 'a function of the same name') $$;
CREATE TABLE evil.trap (id integer, part integer, "a DEFERRABLE; DROP TABLE shop.customers; --" integer, "b
\! echo caught
" integer) WITH (autovacuum_enabled = off);
INSERT INTO evil.trap SELECT n, n % 100, n, n FROM generate_series(1, 1000) AS n;
CREATE INDEX constant ON evil.trap (id, (evil.f(1, 'a constant in an index') + part));
CREATE INDEX searched ON evil.trap (evil.f(part, 'an expression'));
CREATE INDEX partial ON evil.trap (part) WHERE part OPERATOR(evil.<) evil.f(50, 'a predicate');
CREATE INDEX partial_again ON evil.trap (part) WHERE part OPERATOR(evil.<) evil.f(50, 'a predicate');
CREATE INDEX "c
\! echo caught; DROP TABLE shop.customers" ON evil.trap ("b
\! echo caught
");
CREATE INDEX "d" ON evil.trap ("b
\! echo caught
");
ALTER TABLE evil.trap ADD CONSTRAINT first UNIQUE ("a DEFERRABLE; DROP TABLE shop.customers; --") DEFERRABLE;
ALTER TABLE evil.trap ADD CONSTRAINT second UNIQUE ("a DEFERRABLE; DROP TABLE shop.customers; --") DEFERRABLE INITIALLY DEFERRED;
COMMENT ON CONSTRAINT second ON evil.trap IS $$'; DROP TABLE shop.customers; --\$$;
ANALYZE evil.trap;
RESET ROLE;

-- A new session has nothing of the table in its caches.  Names in statements are quoted.
\c -
SET search_path = evil, public;
SELECT index, statement, undo FROM architect.index_advice WHERE relation = 'evil.trap'::regclass ORDER BY index::text;
SELECT count(*) AS rules FROM architect.index_advice_status;
SELECT architect.index_size_estimate(index => 'evil.partial') > 0 AS known;
SELECT count(*) >= 0 AS sampled FROM architect.jsonb_advice;
RESET search_path;

-- The planner runs what a predicate is made of: as the owner of the table.
SELECT architect.index_size_estimate('CREATE INDEX ON evil.trap (id) WHERE part = 3') > 0 AS known;
SELECT architect.index_size_estimate(
    'CREATE INDEX ON evil.trap (id) WHERE part OPERATOR(evil.<) evil.f(3, ''the planner'')') > 0 AS known;
SELECT architect.index_size_estimate('CREATE INDEX ON evil.trap ((evil.f(1, ''a new index'') + part))') > 0 AS known;
SELECT error, index_sizes[2] > 0 AS known
FROM architect.index_what_if('SELECT 1', ARRAY[
    'CREATE INDEX ON evil.trap (id) WHERE part OPERATOR(evil.<) evil.f(3, ''a sample'')',
    'CREATE INDEX ON evil.trap ((evil.f(part, ''a sample'')), (evil.f(1, ''a constant'') + part))']);
SELECT current_user = session_user AS is_back;

-- Nor do the common values of a table get to an operator of somebody who may read some rows.
INSERT INTO shop.customers SELECT n % 10, n || '@example.com' FROM generate_series(1, 1000) AS n;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA shop TO regress_mallory;
GRANT SELECT ON shop.customers TO regress_mallory;
ANALYZE shop.customers;
SET ROLE regress_mallory;
SELECT architect.index_size_estimate('CREATE INDEX ON shop.customers (email) WHERE id OPERATOR(evil.<) 3');
SELECT architect.index_size_estimate('CREATE INDEX ON shop.customers (id)');
SELECT error FROM architect.index_what_if('SELECT email FROM shop.customers WHERE id OPERATOR(evil.<) 3',
    ARRAY['CREATE INDEX ON shop.customers (id) WHERE id OPERATOR(evil.<) 3', 'CREATE INDEX ON shop.customers ((evil.f(id, ''a value'')))']);
RESET ROLE;

-- An index that calls a function of somebody else would run it as the owner of the table.
SELECT relation, predicates
FROM architect.index_workload(ARRAY[
    'SELECT 1 FROM shop.customers WHERE lower(email) = $1 AND evil.f(id, ''an index'') = $2',
    'SELECT 1 FROM shop.customers WHERE (id OPERATOR(evil.<) 3) = $1 AND abs(id) = $2',
    'SELECT 1 FROM evil.trap WHERE evil.f(id, ''an index'') = $1']);

-- Counts from elsewhere are kept of indexes of one's own alone.
CREATE INDEX customers_email ON shop.customers (email);
SELECT architect.index_usage_import('replica', '{"indexes": [
    {"schema_name": "shop", "index_name": "customers_email", "scans": 5},
    {"schema_name": "evil", "index_name": "searched", "scans": 5}]}');
SET ROLE regress_mallory;
SELECT architect.index_usage_import('replica', '{"stats_since": "-infinity", "indexes": [
    {"schema_name": "shop", "index_name": "customers_email", "scans": 7},
    {"schema_name": "evil", "index_name": "searched", "scans": 7, "last_scan": "infinity"}]}');
SELECT count(*) AS infinite FROM architect.index_unused WHERE index = 'evil.searched'::regclass;
SELECT architect.index_usage_import('replica', '{"indexes": [{"schema_name": "evil", "scans": -1}]}'); -- fails: negative
SELECT architect._index_note_usage(10, 'replica', NULL); -- fails: not for everybody
INSERT INTO architect.index_usage VALUES ('replica', 'shop', 'customers_email', 0, 0); -- fails: may not
SELECT architect.index_usage_forget('replica');
SELECT server, index_name, scans FROM architect.index_usage;

-- Of others' tables there is nothing to see.
SELECT DISTINCT relation FROM architect.index_advice WHERE relation <> 'evil.trap'::regclass;
SELECT DISTINCT relation FROM architect.jsonb_advice WHERE relation <> 'evil.trap'::regclass;
SET ROLE regress_reader;
SELECT count(*) AS findings FROM architect.index_advice;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA evil, shop CASCADE;
DROP ROLE regress_mallory, regress_reader;
DROP EXTENSION pg_architect;
