-- What a query costs with an index that does not exist is what it costs with one that does.
CREATE EXTENSION pg_architect;
CREATE EXTENSION pg_trgm;
\set VERBOSITY terse
CREATE SCHEMA what_if_real;
SET search_path = what_if_real, public;
SELECT setseed(0.3);
CREATE TABLE customers (id int PRIMARY KEY, name text, country text, joined date) WITH (autovacuum_enabled = off);
INSERT INTO customers
SELECT i, 'Customer ' || i, 'C' || i % 30, date '2020-01-01' + i % 1500 FROM generate_series(1, 5000) AS i;
CREATE TABLE orders (id int PRIMARY KEY, customer int, status text, placed timestamptz, shipped timestamptz, amount numeric,
                     code uuid, note text, region int) WITH (autovacuum_enabled = off);
INSERT INTO orders
SELECT i, 1 + floor(random() * 5000), CASE WHEN random() < 0.95 THEN 'done' WHEN random() < 0.8 THEN 'open' ELSE 'lost' END,
       timestamptz '2026-01-01 UTC' + i * interval '1 minute',
       CASE WHEN random() < 0.1 THEN timestamptz '2026-01-01 UTC' + i * interval '1 minute' END,
       (random() * 10000)::numeric(8, 2), md5(i::text)::uuid, repeat('note ', i % 9) || i, floor(random() * 20)
FROM generate_series(1, 100000) AS i;
-- The sample that ANALYZE takes of what follows has all rows, so that two are the same.
CREATE TABLE docs (id int PRIMARY KEY, email text, data jsonb, tags int[], words tsvector, during int8range, kind int)
    WITH (autovacuum_enabled = off);
INSERT INTO docs
SELECT i, 'User' || i % 9000 || '@example.org',
       jsonb_build_object('sku', 's' || i % 700, 'n', i % 5000, 'state', CASE WHEN i % 50 = 0 THEN 'new' ELSE 'old' END,
                          'tags', jsonb_build_array('t' || i % 40, 't' || i % 90)),
       ARRAY[i % 100, i % 37, floor(random() * 1000)],
       to_tsvector('simple', 'common word' || i % 300 || ' rare' || i % 4000), int8range(i, i + 1 + floor(random() * 50)::int), i % 60
FROM generate_series(1, 25000) AS i;
CREATE TABLE events (id int, happened timestamptz, kind int, payload text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (20000) WITH (autovacuum_enabled = off);
CREATE TABLE events_2 (payload text, kind int, gone int, happened timestamptz, id int) WITH (autovacuum_enabled = off);
ALTER TABLE events_2 DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (20000) TO (60000);
INSERT INTO events SELECT i, timestamptz '2026-01-01 UTC' + i * interval '1 second', i % 800, md5(i::text) FROM generate_series(0, 49999) AS i;
CREATE VIEW open_orders AS SELECT * FROM orders WHERE status = 'open';
VACUUM ANALYZE customers, orders, docs, events;

CREATE TABLE shapes (number int, statement text, query text, guess float8, guess_used text[], real float8, real_used text[]);
INSERT INTO shapes (number, statement, query)
SELECT ordinality, 'CREATE ' || split_part(line, ' => ', 1), split_part(line, ' => ', 2)
FROM unnest(string_to_array(trim(E'\n' FROM $$
INDEX i ON orders (customer) => SELECT * FROM orders WHERE customer = $1
INDEX i ON orders (customer) => SELECT * FROM orders WHERE customer IN (5, 77, 1000)
INDEX i ON orders (customer) => SELECT count(*) FROM orders WHERE customer BETWEEN 10 AND 400
INDEX i ON orders (customer) => SELECT * FROM orders AS o JOIN customers AS c ON o.customer = c.id WHERE c.country = 'C7' AND c.joined < '2020-03-01'
INDEX i ON orders (customer) => SELECT * FROM customers AS c WHERE c.id < 50 AND EXISTS (SELECT FROM orders AS o WHERE o.customer = c.id)
INDEX i ON orders (customer, placed) => SELECT * FROM orders WHERE customer = $1 AND placed > $2
INDEX i ON orders (customer, placed DESC) => SELECT * FROM orders WHERE customer = 17 ORDER BY placed DESC LIMIT 5
INDEX i ON orders (customer DESC NULLS LAST, id) => SELECT * FROM orders ORDER BY customer DESC NULLS LAST, id LIMIT 20
INDEX i ON orders (customer) INCLUDE (amount) => SELECT sum(amount) FROM orders WHERE customer < 300
INDEX i ON orders (customer, amount) => SELECT customer, sum(amount) FROM orders GROUP BY customer
INDEX i ON orders (placed) => SELECT * FROM orders WHERE placed > '2026-03-10 UTC'
INDEX i ON orders (placed) => SELECT max(placed) FROM orders
INDEX i ON orders (placed) => SELECT * FROM orders ORDER BY placed LIMIT 10
INDEX i ON orders (shipped) => SELECT * FROM orders WHERE shipped IS NOT NULL ORDER BY shipped LIMIT 100
INDEX i ON orders (shipped) => SELECT * FROM orders WHERE shipped < '2026-01-02 UTC'
INDEX i ON orders (status) => SELECT * FROM orders WHERE status = 'lost'
INDEX i ON orders (status, region) => SELECT * FROM orders WHERE status = 'open' AND region = 3
INDEX i ON orders (region, status) => SELECT count(*) FROM orders WHERE region = 3 AND status <> 'done'
INDEX i ON orders (code) => SELECT * FROM orders WHERE code = $1
INDEX i ON orders (amount) => SELECT * FROM orders WHERE amount > 9700
INDEX i ON orders (amount) => SELECT * FROM orders ORDER BY amount DESC LIMIT 3
INDEX i ON orders (note) => SELECT * FROM orders WHERE note = $1
INDEX i ON orders (note text_pattern_ops) => SELECT * FROM orders WHERE note LIKE 'note 7%'
INDEX i ON orders (note COLLATE "POSIX") => SELECT * FROM orders WHERE note COLLATE "POSIX" < '1'
INDEX i ON orders (region, placed, customer, amount) => SELECT customer, amount FROM orders WHERE region = 4 AND placed < '2026-02-08 UTC'
UNIQUE INDEX i ON orders (code) => SELECT * FROM orders WHERE code = $1
UNIQUE INDEX i ON orders (placed) => SELECT c.* FROM customers AS c LEFT JOIN orders AS o ON o.placed = c.joined
INDEX i ON orders (customer) WITH (fillfactor = 50) => SELECT count(*) FROM orders WHERE customer < 900
INDEX i ON orders (id) WHERE status = 'lost' => SELECT * FROM orders WHERE status = 'lost'
INDEX i ON orders (customer) WHERE status <> 'done' => SELECT * FROM orders WHERE status = 'open' AND customer < 100
INDEX i ON orders (customer) WHERE status = 'open' => SELECT * FROM open_orders AS a JOIN open_orders AS b ON b.customer = a.customer AND a.id < 1000
INDEX i ON orders (shipped) WHERE shipped IS NOT NULL => SELECT * FROM orders WHERE shipped BETWEEN '2026-02-01 UTC' AND '2026-02-02 UTC'
INDEX i ON orders (placed) WHERE region = 7 => SELECT count(placed) FROM orders WHERE region = 7
INDEX i ON orders USING hash (code) => SELECT * FROM orders WHERE code = $1
INDEX i ON orders USING hash (customer) => SELECT * FROM orders WHERE customer = 5
INDEX i ON orders USING brin (placed) => SELECT * FROM orders WHERE placed < '2026-01-03 UTC'
INDEX i ON orders USING brin (id, placed) WITH (pages_per_range = 16) => SELECT * FROM orders WHERE placed < '2026-01-02 UTC'
INDEX i ON orders (customer) => UPDATE orders SET amount = 0 WHERE customer = 3
INDEX i ON orders (customer) => DELETE FROM orders WHERE customer IN (SELECT id FROM customers WHERE country = 'C3' AND joined < '2020-01-20')
INDEX i ON orders (customer) => WITH o AS MATERIALIZED (SELECT * FROM orders WHERE customer = 4) SELECT * FROM o JOIN customers AS c ON c.id = o.customer
INDEX i ON orders (customer) => SELECT c.name, (SELECT max(amount) FROM orders WHERE customer = c.id) FROM customers AS c WHERE c.id < 100
INDEX i ON orders (customer) => SELECT * FROM customers AS c, LATERAL (SELECT * FROM orders WHERE customer = c.id LIMIT 3) AS o WHERE c.country = 'C1'
INDEX i ON customers (country) => SELECT * FROM customers WHERE country = $1
INDEX i ON customers (country, name) => SELECT country, count(DISTINCT name) FROM customers GROUP BY country
INDEX i ON customers (name) => SELECT * FROM orders AS o JOIN customers AS c ON c.id = o.customer WHERE c.name = $1
INDEX i ON docs (lower(email)) => SELECT * FROM docs WHERE lower(email) = $1
INDEX i ON docs (lower(email)) => SELECT * FROM docs AS a JOIN docs AS b ON lower(b.email) = lower(a.email) WHERE a.id < 100
INDEX i ON docs (lower(email), id) => SELECT * FROM docs WHERE lower(email) > 'user99' ORDER BY lower(email), id LIMIT 10
INDEX i ON docs ((data ->> 'sku')) => SELECT * FROM docs WHERE data ->> 'sku' = 's5'
INDEX i ON docs ((data ->> 'state')) => SELECT * FROM docs WHERE data ->> 'state' = 'new'
INDEX i ON docs (((data ->> 'n')::int)) => SELECT * FROM docs WHERE (data ->> 'n')::int BETWEEN 1000 AND 1040
INDEX i ON docs (((data ->> 'n')::int), kind) => SELECT * FROM docs WHERE (data ->> 'n')::int = 40 AND kind = 40
INDEX i ON docs (id) WHERE data ->> 'state' = 'new' => SELECT * FROM docs WHERE data ->> 'state' = 'new' AND id > 20000
INDEX i ON docs ((kind + id)) WHERE kind > 55 => SELECT * FROM docs WHERE kind > 57 AND kind + id < 500
INDEX i ON docs USING gin (data) => SELECT * FROM docs WHERE data @> '{"sku": "s7"}'
INDEX i ON docs USING gin (data) => SELECT * FROM docs WHERE data ? 'sku' AND kind = 5
INDEX i ON docs USING gin (data jsonb_path_ops) => SELECT * FROM docs WHERE data @> '{"tags": ["t5"]}'
INDEX i ON docs USING gin (data jsonb_path_ops) => SELECT * FROM docs WHERE data @> $1
INDEX i ON docs USING gin ((data -> 'tags')) => SELECT * FROM docs WHERE data -> 'tags' ? 't80'
INDEX i ON docs USING gin (tags) => SELECT * FROM docs WHERE tags @> ARRAY[900]
INDEX i ON docs USING gin (tags) => SELECT * FROM docs WHERE tags && ARRAY[90, 91]
INDEX i ON docs USING gin (words) => SELECT * FROM docs WHERE words @@ 'word5'
INDEX i ON docs USING gin (words) => SELECT * FROM docs WHERE words @@ 'rare7 | rare8'
INDEX i ON docs USING gin (to_tsvector('simple', email)) => SELECT * FROM docs WHERE to_tsvector('simple', email) @@ 'user77@example.org'
INDEX i ON docs USING gin (email gin_trgm_ops) => SELECT * FROM docs WHERE email ILIKE '%user4321%'
INDEX i ON docs USING gist (during) => SELECT * FROM docs WHERE during @> 5::bigint
INDEX i ON docs USING gist (during) => SELECT * FROM docs WHERE during && int8range(100, 400)
INDEX i ON events (happened) => SELECT * FROM events WHERE happened BETWEEN '2026-01-01 01:00 UTC' AND '2026-01-01 01:10 UTC'
INDEX i ON events (kind) => SELECT * FROM events WHERE kind = $1
INDEX i ON events (id) => SELECT * FROM events WHERE id = $1
INDEX i ON events (kind, happened) => SELECT * FROM events WHERE kind = 5 ORDER BY happened LIMIT 5
INDEX i ON events (lower(payload)) WHERE kind < 100 => SELECT * FROM events WHERE kind < 100 AND lower(payload) = 'x'
$$), E'\n')) WITH ORDINALITY AS list(line, ordinality);
SELECT count(*) FROM shapes;

UPDATE shapes SET (guess, guess_used) = (SELECT cost_after, array(SELECT unnest(indexes_used) ORDER BY 1) FROM architect.index_what_if(query, ARRAY[statement]));
DO $do$
DECLARE
    shape shapes;
BEGIN
    FOR shape IN SELECT * FROM shapes LOOP
        EXECUTE shape.statement;
        IF shape.statement ~ ' ON (docs|events)' THEN
            ANALYZE docs, events;
        END IF;
        UPDATE shapes
        SET (real, real_used) = (SELECT cost_before, array(SELECT unnest(indexes_used) ORDER BY 1) FROM architect.index_what_if(query))
        WHERE number = shape.number;
        DROP INDEX i;
    END LOOP;
END;
$do$;

-- Each partition has an index of its own.
UPDATE shapes SET real_used = '{i}' WHERE real_used <@ '{events_1_happened_idx,events_2_happened_idx,events_1_kind_idx,events_2_kind_idx,
    events_1_id_idx,events_2_id_idx,events_1_kind_happened_idx,events_2_kind_happened_idx,events_1_lower_idx,events_2_lower_idx}'
    AND real_used <> '{}';
SELECT count(*) FILTER (WHERE guess IS NULL) AS unanswered,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(guess / real - 1)) <= 0.01 AS median,
       max(abs(guess / real - 1)) <= 0.10 AS worst,
       avg((guess_used = real_used)::int) >= 0.99 AS same
FROM shapes;
SELECT number, round((guess / real)::numeric, 3) AS ratio, guess_used, real_used, statement, query
FROM shapes
WHERE abs(guess / real - 1) > 0.10 OR guess_used <> real_used OR guess IS NULL
ORDER BY number;

DROP SCHEMA what_if_real CASCADE;
DROP EXTENSION pg_trgm;
DROP EXTENSION pg_architect;
