-- The rule book: the tenant column leads an index, composite keys and indexes,
-- and is part of foreign keys and unique constraints.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_tenant_owner;
CREATE SCHEMA tenant_plan AUTHORIZATION regress_tenant_owner;
SET SESSION AUTHORIZATION regress_tenant_owner;
SET search_path = tenant_plan;

CREATE TABLE customers (id integer PRIMARY KEY, tenant_id bigint, email text,
                        CONSTRAINT "E ""mail""" UNIQUE (email) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE orders (tenant_id bigint, no integer, kind "char", customer_id integer, parent_no integer, placed_at date, note text,
                     CONSTRAINT orders_pkey PRIMARY KEY (no, kind),
                     CONSTRAINT by_customer FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL,
                     CONSTRAINT by_customer_2 FOREIGN KEY (customer_id) REFERENCES customers (id) MATCH FULL ON DELETE CASCADE);
CREATE UNIQUE INDEX "Lower ""X""" ON orders (lower(note) text_pattern_ops DESC) INCLUDE (no) WHERE placed_at IS NOT NULL;
CREATE INDEX orders_placed_at_idx ON orders (placed_at, tenant_id) WHERE note IS NOT NULL;
CREATE INDEX orders_odd_idx ON orders (placed_at DESC, tenant_id);
CREATE INDEX orders_note_idx ON orders (note);
CREATE INDEX orders_gin_idx ON orders USING gin (to_tsvector('simple', note));
INSERT INTO customers VALUES (1, 1, 'a@b'), (2, 2, 'c@d');
INSERT INTO orders VALUES (1, 1, 'a', 1, NULL, '2030-01-01', 'one'), (2, 2, 'a', 2, 1, '2030-01-01', 'two');

-- What is not followed is said.
SELECT architect.tenant_enable('orders'), architect.tenant_enable('customers');
-- Each statement of the plan, with its lock, reason and undo.
\x on
SELECT statement, why, lock, undo, transactional, inside
FROM architect.tenant_enable_plan('orders', fix => true);
SELECT statement, transactional, inside FROM architect.tenant_enable_plan('customers', fix => true, online => true);
\x off

-- A copy, to see that disable brings all of it back.
CREATE VIEW shape AS
    SELECT conrelid::regclass AS relation, conname AS name, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE connamespace = 'tenant_plan'::regnamespace AND contype <> 'n'
    UNION ALL
    SELECT indrelid::regclass, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid AND relnamespace = 'tenant_plan'::regnamespace
    UNION ALL
    SELECT attrelid::regclass, attname, attnotnull::text
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = 'tenant_plan'::regnamespace AND relkind = 'r'
    WHERE attnum > 0;
CREATE TABLE before AS SELECT * FROM shape WHERE relation::text <> 'before';

-- A small table is fixed in the transaction.
SELECT architect.tenant_enable('orders', fix => true);
SELECT architect.tenant_enable('orders', fix => true);
SELECT architect.tenant_enable('customers', fix => true);
SELECT name, definition FROM shape WHERE relation IN ('orders'::regclass, 'customers'::regclass) AND definition ~ '\(' ORDER BY name COLLATE "C", definition COLLATE "C";
SELECT attrelid::regclass, attnotnull FROM pg_attribute
WHERE attrelid IN ('orders'::regclass, 'customers'::regclass) AND attname = 'tenant_id' ORDER BY 1;
SELECT statement, why FROM architect.tenant_enable_plan('orders', fix => true);
SELECT statement, why FROM architect.tenant_enable_plan('customers', fix => true);
-- What the rules are for.
BEGIN;
SELECT architect.tenant_set(1);
INSERT INTO customers VALUES (3, 1, 'c@d');
SAVEPOINT before_error;
-- fails: another tenant's customer
INSERT INTO orders VALUES (1, 3, 'a', 2);
ROLLBACK TO before_error;
-- The customer goes, the tenant stays.
DELETE FROM customers WHERE id = 1;
SELECT tenant_id, no, customer_id FROM orders;
ROLLBACK;
SELECT architect.tenant_disable('orders'), architect.tenant_disable('customers');
SELECT * FROM (TABLE before EXCEPT SELECT * FROM shape WHERE relation::text <> 'before') AS gone;
SELECT * FROM (SELECT * FROM shape WHERE relation::text <> 'before' EXCEPT TABLE before) AS come;

-- A table for which the caller wants no long locks: he runs what is left, and calls again.
SELECT architect.tenant_enable('customers', fix => true, online => true);
SELECT relation, problem FROM architect.tenant_tables;
\set ECHO none
SELECT statement FROM architect.tenant_enable_plan('customers', fix => true, online => true) WHERE inside IS NULL ORDER BY step \gexec
SELECT architect.tenant_enable('orders', online => true);
SELECT statement FROM architect.tenant_enable_plan('orders', fix => true, online => true) WHERE inside IS NULL ORDER BY step \gexec
\set ECHO all
SELECT architect.tenant_enable('customers', fix => true, online => true);
SELECT name, definition FROM shape WHERE relation IN ('orders'::regclass, 'customers'::regclass) AND definition ~ '\(' ORDER BY name COLLATE "C", definition COLLATE "C";
SELECT statement FROM architect.tenant_enable_plan('customers', fix => true, online => true);
SELECT statement FROM architect.tenant_enable_plan('orders', fix => true, online => true);
-- What he ran himself is not taken back.
SELECT architect.tenant_disable('orders'), architect.tenant_disable('customers');
SELECT name, definition FROM shape WHERE definition ~ '^(FOREIGN|PRIMARY)' ORDER BY name COLLATE "C", definition COLLATE "C";

-- Where something stands in the way of the undo, fixes can be kept.
CREATE TABLE names (id integer PRIMARY KEY, tenant_id bigint, name text UNIQUE);
SELECT architect.tenant_enable('names', fix => true);
BEGIN;
SELECT architect.tenant_set(1);
INSERT INTO names VALUES (1, 1, 'same');
COMMIT;
BEGIN;
SELECT architect.tenant_set(2);
INSERT INTO names VALUES (2, 2, 'same');
COMMIT;
\set SHOW_CONTEXT never
-- fails: two tenants have the same name by now
SELECT architect.tenant_disable('names');
SELECT relation, problem FROM architect.tenant_tables;
SELECT architect.tenant_disable('names', keep_fixes => true);
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'names'::regclass AND contype = 'u';
-- A key that others refer to stays, and so does one by which replication names rows.
CREATE TABLE pairs (a integer, b integer, tenant_id bigint NOT NULL, c integer NOT NULL, PRIMARY KEY (a, b));
CREATE UNIQUE INDEX pairs_c ON pairs (c);
ALTER TABLE pairs REPLICA IDENTITY USING INDEX pairs_c;
CREATE TABLE referring (a integer, b integer, tenant_id bigint NOT NULL, FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL);
SELECT statement, why FROM architect.tenant_enable_plan('pairs', fix => true) WHERE statement LIKE '--%';
SELECT statement, why FROM architect.tenant_enable_plan('referring', fix => true) WHERE statement LIKE '--%';
-- Tenants of another type are not those of this table.
CREATE TABLE others (id integer PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE mixed (id integer PRIMARY KEY, tenant_id uuid NOT NULL, other integer REFERENCES others);
SELECT statement FROM architect.tenant_enable_plan('mixed', fix => true) WHERE statement !~ 'POLICY|SECURITY';
-- A partitioned table, with what its kind allows.
CREATE TABLE events (id integer, tenant_id bigint NOT NULL, at integer, customer_id integer REFERENCES customers, code text,
                     PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE UNIQUE INDEX events_code_idx ON events (code, at);
INSERT INTO events VALUES (1, 1, 1, 1, 'x');
SELECT statement, transactional, inside = statement AS same FROM architect.tenant_enable_plan('events', fix => true) WHERE statement !~ 'POLICY|SECURITY';
CREATE TABLE before_events AS SELECT * FROM shape WHERE relation::text ~ '^events';
SELECT architect.tenant_enable('events', fix => true);
SELECT relation, name, definition FROM shape WHERE relation::text ~ '^events' AND definition ~ '\(' ORDER BY relation::text COLLATE "C", name COLLATE "C", definition COLLATE "C";
SELECT architect.tenant_disable('events');
SELECT * FROM (TABLE before_events EXCEPT SELECT * FROM shape) AS gone;
-- Together with a column that is added; a table that refers to itself.
CREATE TABLE tree (id integer PRIMARY KEY, parent integer REFERENCES tree, customer_id integer NOT NULL REFERENCES customers, name text UNIQUE);
INSERT INTO tree VALUES (1, NULL, 1, 'root'), (2, 1, 1, 'leaf');
SELECT architect.tenant_enable('tree', add_column => true, path => '{customer_id}', fix => true);
SELECT name, definition FROM shape WHERE relation = 'tree'::regclass AND definition ~ '\(' ORDER BY name COLLATE "C", definition COLLATE "C";
SELECT statement FROM architect.tenant_enable_plan('tree', add_column => true, fix => true);
SELECT architect.tenant_disable('tree', keep_column => false);
SELECT name, definition FROM shape WHERE relation = 'tree'::regclass ORDER BY name COLLATE "C", definition COLLATE "C";

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA tenant_plan CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_tenant_owner;
