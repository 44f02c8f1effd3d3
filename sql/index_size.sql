CREATE EXTENSION pg_architect;
\set VERBOSITY terse
CREATE SCHEMA "Sizes";
SET search_path = "Sizes";
SELECT setseed(0.5);

-- Values of many kinds: even and uneven, few and many, in order and by chance.
CREATE TABLE orders (
    id bigint NOT NULL,
    gone int,
    customer int,
    region smallint,
    status text,
    flag boolean,
    shipped timestamptz,
    deleted timestamptz,
    placed timestamptz,
    code text,
    title text,
    body text,
    token uuid,
    amount numeric,
    price float8,
    day date,
    kind char(8),
    label name,
    address inet,
    data jsonb,
    pairs int
) WITH (autovacuum_enabled = off);
ALTER TABLE orders DROP COLUMN gone;
INSERT INTO orders
SELECT i, floor(random() * 5000), i % 20,
       CASE WHEN random() < 0.9 THEN 'done' WHEN random() < 0.9 THEN 'open' ELSE 'failed' END,
       random() < 0.5,
       CASE WHEN random() < 0.6 THEN timestamptz '2026-01-01 UTC' + i * interval '1 minute' END,
       CASE WHEN random() < 0.02 THEN timestamptz '2026-01-01 UTC' + i * interval '1 minute' END,
       timestamptz '2026-01-01 UTC' + i * interval '10 seconds',
       md5(i::text), repeat('t', 5 + (random() * 50)::int) || i, repeat(md5(i::text), 4 + (random() * 8)::int),
       md5(i::text)::uuid, (random() * 100000)::numeric(12, 2), i * 1.5,
       date '2020-01-01' + floor(random() * 1500)::int, 'k' || i % 7, 'label_' || i % 3000,
       ('10.' || i % 200 || '.' || i % 100 || '.1')::inet, jsonb_build_object('sku', 's' || i % 400), i / 2
FROM generate_series(1, 100000) AS i;
CREATE TABLE lines (customer int, number int, note text) WITH (autovacuum_enabled = off);
INSERT INTO lines SELECT i / 10, i % 10, CASE WHEN i % 4 = 0 THEN 'note ' || i END FROM generate_series(1, 50000) AS i;
CREATE STATISTICS together (ndistinct) ON customer, region FROM orders;
CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false);

CREATE TABLE made (number int PRIMARY KEY, definition text, index regclass) WITH (autovacuum_enabled = off);
INSERT INTO made (number, definition)
SELECT number, 'CREATE ' || definition
FROM unnest(ARRAY[
    'UNIQUE INDEX i% ON orders (id)',
    'INDEX i% ON orders (id)',
    'INDEX i% ON orders (id DESC) WITH (fillfactor = 70)',
    'INDEX i% ON orders (id) WITH (fillfactor = 100)',
    'INDEX i% ON orders (customer)',
    'INDEX i% ON orders (customer) WITH (deduplicate_items = off)',
    'INDEX i% ON orders (region)',
    'INDEX i% ON orders (status)',
    'INDEX i% ON orders (flag)',
    'INDEX i% ON orders (shipped)',
    'INDEX i% ON orders (deleted)',
    'INDEX i% ON orders (deleted) WHERE deleted IS NOT NULL',
    'UNIQUE INDEX i% ON orders (shipped)',
    'INDEX i% ON orders (code)',
    'INDEX i% ON orders (title)',
    'INDEX i% ON orders (body)',
    'INDEX i% ON orders (title COLLATE "C")',
    'INDEX i% ON orders (title text_pattern_ops DESC NULLS LAST)',
    'INDEX i% ON orders (status COLLATE loose)',
    'INDEX i% ON orders (token)',
    'INDEX i% ON orders (amount)',
    'INDEX i% ON orders (price)',
    'INDEX i% ON orders (day)',
    'INDEX i% ON orders (kind)',
    'INDEX i% ON orders (label)',
    'INDEX i% ON orders (address)',
    'INDEX i% ON orders (pairs)',
    'INDEX i% ON orders (customer, id)',
    'INDEX i% ON orders (customer, region)',
    'INDEX i% ON orders (region, status)',
    'INDEX i% ON orders (region, day)',
    'INDEX i% ON orders (status, customer)',
    'INDEX i% ON orders (status, placed)',
    'INDEX i% ON orders (flag, day, region)',
    'INDEX i% ON orders (shipped, deleted)',
    'INDEX i% ON orders (deleted, customer)',
    'INDEX i% ON orders (title, id)',
    'INDEX i% ON orders (region, title, flag, id)',
    'UNIQUE INDEX i% ON orders (id) INCLUDE (status, amount)',
    'INDEX i% ON orders (customer) INCLUDE (id)',
    'INDEX i% ON orders (day) INCLUDE (title, deleted)',
    'INDEX i% ON orders (customer) WHERE status = ''open''',
    'INDEX i% ON orders (status) WHERE status <> ''done''',
    'INDEX i% ON orders (id) WHERE id > 80000',
    'INDEX i% ON orders (day) WHERE deleted IS NULL',
    'INDEX i% ON orders (lower(code))',
    'INDEX i% ON orders (lower(title))',
    'INDEX i% ON orders ((data ->> ''sku''))',
    'INDEX i% ON orders ((customer + region))',
    'INDEX i% ON orders (date_trunc(''day'', placed AT TIME ZONE ''UTC''), region)',
    'INDEX i% ON lines (customer)',
    'INDEX i% ON lines (customer, number)',
    'INDEX i% ON lines (note)',
    'INDEX i% ON lines (note) WHERE note IS NULL',
    'INDEX i% ON orders USING hash (id)',
    'INDEX i% ON orders USING hash (code)',
    'INDEX i% ON orders USING hash (customer)',
    'INDEX i% ON orders USING hash (region)',
    'INDEX i% ON orders USING hash (status)',
    'INDEX i% ON orders USING hash (deleted)',
    'INDEX i% ON orders USING hash (shipped) WITH (fillfactor = 50)',
    'INDEX i% ON orders USING hash (token) WHERE status = ''open''',
    'INDEX i% ON lines USING hash (customer)',
    'INDEX i% ON orders USING brin (placed)',
    'INDEX i% ON orders USING brin (placed) WITH (pages_per_range = 1)',
    'INDEX i% ON orders USING brin (id, shipped, price) WITH (pages_per_range = 2)',
    'INDEX i% ON orders USING brin (code) WITH (pages_per_range = 1)',
    'INDEX i% ON orders USING brin (address inet_inclusion_ops) WITH (pages_per_range = 1)'
]) WITH ORDINALITY AS list(definition, number);
-- A hash index is made for as many rows as the table is taken to have.
ANALYZE orders, lines;
DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT * FROM made LOOP
        EXECUTE replace(one.definition, 'i%', 'i' || one.number);
        UPDATE made SET index = ('i' || one.number)::regclass WHERE number = one.number;
    END LOOP;
END;
$do$;
ANALYZE orders, lines;

-- The model is within a tenth, one page aside.
SELECT count(*) FROM made;
SELECT made.definition, round(estimate / real::numeric, 2) AS ratio
FROM made, pg_relation_size(index) AS real, architect.index_size_estimate(index) AS estimate
WHERE abs(estimate - real) > greatest(real * 0.1, 8192) OR estimate IS NULL
ORDER BY number;

-- So it is of statements, which make none.
SELECT made.definition, round(estimate / real::numeric, 2) AS ratio
FROM made, pg_relation_size(index) AS real, architect.index_size_estimate(replace(definition, 'i%', '')) AS estimate
WHERE abs(estimate - real) > greatest(real * 0.1, 8192) OR estimate IS NULL
ORDER BY number;

-- Names are those of the caller's search_path, and quoted as need be.
SELECT architect.index_size_estimate('CREATE INDEX ON orders (id)') = architect.index_size_estimate(index => 'i2') AS same;
SELECT architect.index_size_estimate('CREATE INDEX CONCURRENTLY "a b" ON "Sizes".orders (id)') = pg_relation_size('i2') AS same;
SELECT count(*) FROM pg_indexes WHERE indexname = 'a b';

-- A predicate can have functions of anybody's, with handlers of errors, evaluated: not in parallel.
CREATE FUNCTION attempt(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN $1;
EXCEPTION WHEN division_by_zero THEN
    RETURN 0;
END
$$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), architect.index_size_estimate('CREATE INDEX ON orders (id) WHERE id > attempt(80000)') > 0 AS known
FROM orders;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- Nothing is known of some.
SELECT architect.index_size_estimate('CREATE INDEX ON orders USING gin (data)');
SELECT architect.index_size_estimate('CREATE INDEX ON orders USING brin (id int8_bloom_ops)');
SELECT architect.index_size_estimate('CREATE INDEX ON orders ((data ->> ''new''))');
SELECT architect.index_size_estimate('CREATE INDEX ON made (number)');
SELECT architect.index_size_estimate(index => 'pg_class_oid_index');

-- Wrong ones.
SELECT architect.index_size_estimate('SELECT 1'); -- fails: no CREATE INDEX
SELECT architect.index_size_estimate('CREATE INDEX ON orders (id); DROP TABLE orders'); -- fails: two
SELECT architect.index_size_estimate('CREATE INDEX ON orders (nothing)'); -- fails: no such column
SELECT architect.index_size_estimate('CREATE INDEX ON nothing (id)'); -- fails: no such table
SELECT architect.index_size_estimate('CREATE INDEX ON pg_stats (tablename)'); -- fails: a view
SELECT architect.index_size_estimate('CREATE INDEX ON orders (data varchar_ops)'); -- fails: not the type
CREATE ROLE regress_sizes;
GRANT USAGE ON SCHEMA "Sizes" TO regress_sizes;
SET ROLE regress_sizes;
SELECT architect.index_size_estimate('CREATE INDEX ON orders (id)'); -- fails: may not read it
SELECT architect.index_size_estimate(index => 'i14');
RESET ROLE;
GRANT SELECT (id) ON orders TO regress_sizes;
SET ROLE regress_sizes;
SELECT architect.index_size_estimate(index => 'i2') > 0 AS known;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA "Sizes" CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_sizes;
