-- Advice that is kept: who sees it, what has become of it, and how it reads.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_keep_owner;
CREATE ROLE regress_keep_mallory;
CREATE SCHEMA keep AUTHORIZATION regress_keep_owner;
CREATE SCHEMA evil AUTHORIZATION regress_keep_mallory;
GRANT USAGE ON SCHEMA keep TO PUBLIC;

-- What index_advise says is told it here, for one role each.
CREATE FUNCTION keep.as_json(text, text, text, regclass, float8, float8, jsonb, text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('action', $1, 'statement', $2, 'undo', $3, 'relation', $4, 'size_bytes', 8192 * 100,
                              'cost_before', $5, 'cost_after', $6, 'queries', $7, 'confidence', $8,
                              'build_seconds', 1.5, 'write_rows', 1000, 'wal_bytes', 64000, 'lost_hot', 3,
                              'break_even', 12.34, 'statistics_age', '3 hours') $$;
CREATE TABLE keep.advice (advised name, number integer GENERATED ALWAYS AS IDENTITY, advice jsonb);
GRANT SELECT ON keep.advice TO PUBLIC;
CREATE OR REPLACE FUNCTION architect.index_advise(budget text DEFAULT NULL, queries text[] DEFAULT NULL,
        weights float8[] DEFAULT NULL, max_indexes integer DEFAULT NULL, max_write_overhead float8 DEFAULT NULL,
        max_regression float8 DEFAULT 0.05, time_limit interval DEFAULT '10s', tables regclass[] DEFAULT NULL,
        drops boolean DEFAULT false,
        OUT rank integer, OUT action text, OUT statement text, OUT undo text, OUT relation regclass,
        OUT size_bytes bigint, OUT cost_before float8, OUT cost_after float8, OUT write_cost float8,
        OUT queries jsonb, OUT confidence text, OUT query_number integer, OUT reason text,
        OUT build_seconds float8, OUT write_rows float8, OUT wal_bytes float8, OUT lost_hot float8,
        OUT break_even float8, OUT statistics_age interval)
    RETURNS SETOF record LANGUAGE sql VOLATILE AS $$
    SELECT row_number() OVER (ORDER BY number), told.*
    FROM keep.advice
    CROSS JOIN jsonb_to_record(advice)
         AS told (action text, statement text, undo text, relation regclass, size_bytes bigint, cost_before float8,
                  cost_after float8, write_cost float8, queries jsonb, confidence text, query_number integer,
                  reason text, build_seconds float8, write_rows float8, wal_bytes float8, lost_hot float8,
                  break_even float8, statistics_age interval)
    WHERE advised = current_user AND (advice ->> 'relation' IS NULL OR to_regclass(advice ->> 'relation') IS NOT NULL)
      AND ($3 IS NULL OR told.cost_before >= $3[1]) $$;

SET ROLE regress_keep_owner;
CREATE TABLE keep.orders (id integer PRIMARY KEY, customer integer, "Status" text, data jsonb, total numeric, gone integer);
CREATE INDEX orders_total ON keep.orders (total);
CREATE TABLE keep.events (id integer, at integer) PARTITION BY RANGE (id);
CREATE TABLE keep.events_1 PARTITION OF keep.events FOR VALUES FROM (0) TO (100);
CREATE TABLE keep.dropped (id integer);
RESET ROLE;
INSERT INTO keep.advice (advised, advice) VALUES
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_1 ON keep.orders USING btree (customer DESC, lower("Status")) INCLUDE (total);',
    'DROP INDEX CONCURRENTLY keep.orders_1;', 'keep.orders', 1000, 100, '[
        {"number": 1, "query_id": 7, "calls": 5, "share": 0.25, "cost_before": 50, "cost_after": 2.5},
        {"number": 2, "query_id": null, "calls": 1, "share": 0.75, "cost_before": 750, "cost_after": 0.123}]', 'likely')),
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_2 ON keep.orders USING btree (id) WHERE ("Status" = ''open''::text);', 'undo', 'keep.orders', 100, 90, '[]', 'hint')),
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_3 ON keep.orders USING gin (data jsonb_path_ops);', 'undo', 'keep.orders', 90, 80, '[]', 'proven')),
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_4 ON keep.orders USING brin (id) WITH (pages_per_range=''32'');', 'undo', 'keep.orders', 80, 70, '[]', 'likely')),
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_5 ON keep.orders USING hash (gone);', 'undo', 'keep.orders', 70, 60, '[]', 'likely')),
('regress_keep_owner', keep.as_json('create',
    E'CREATE INDEX e ON ONLY keep.events USING btree (at);\nCREATE INDEX CONCURRENTLY e1 ON keep.events_1 USING btree (at);', 'undo', 'keep.events', 60, 50, '[]', 'likely')),
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY dropped_id ON keep.dropped USING btree (id);', 'undo', 'keep.dropped', 50, 45, '[]', 'likely')),
('regress_keep_owner', keep.as_json('drop', 'DROP INDEX CONCURRENTLY keep.orders_total;',
    'CREATE INDEX CONCURRENTLY orders_total ON keep.orders USING btree (total);', 'keep.orders', 45, 44, '[]', 'proven')),
('regress_keep_owner', '{"action": "skip", "query_number": 3, "reason": "it is a utility statement"}'),
('regress_keep_owner', '{"action": "skip", "query_number": 4, "reason": "relation \"a\n\u001b\\! echo\" does not exist"}'),
('regress_keep_mallory', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY orders_6 ON keep.orders USING btree (id, id); DROP TABLE keep.orders', 'undo', 'keep.orders', 9, 8, '[]', 'likely'));

INSERT INTO keep.advice (advised, advice)
    SELECT 'regress_keep_owner', jsonb_build_object('action', 'skip', 'query_number', number, 'reason', 'it is too long')
    FROM generate_series(10, 17) AS number;

-- As a text.
SET ROLE regress_keep_owner;
\pset format unaligned
SELECT architect.index_advise_report('1GB', '{SELECT total FROM orders WHERE customer = $1,"SELECT *
    FROM orders
    WHERE lower(\"Status\") = ''open''",VACUUM}');
SELECT architect.index_advise_report(weights => '{1000000}');
\pset format aligned

-- Nothing is kept that was not asked for; then it is advice until it is done.
SELECT count(*) AS kept FROM architect.index_advised;
SELECT architect.index_advise_keep();
SELECT architect.index_advise_keep();
SELECT relation, index, columns, confidence, reason, evidence -> 'query_count' AS queries, statement
FROM architect.index_advised
ORDER BY (evidence -> 'cost_before')::int DESC;
SELECT undo, lock FROM architect.index_advised WHERE relation = 'keep.events'::regclass;
SELECT count(*) AS advised FROM architect.index_advice WHERE rule = 'advised';
SELECT * FROM architect.index_review();

-- An index of any name that is as advised will do; names that are taken are not proposed.
CREATE INDEX orders_1 ON keep.orders (customer, lower("Status") DESC) INCLUDE (total);
CREATE INDEX orders_2 ON keep.orders (customer DESC NULLS FIRST, lower("Status")) INCLUDE (total);
CREATE INDEX orders_customer_lower_total_idx ON keep.orders (customer) WHERE "Status" = 'open';
CREATE INDEX anything ON keep.orders (id) WHERE "Status" = 'open';
CREATE INDEX coarse ON keep.orders USING brin (id);
CREATE INDEX other_class ON keep.orders USING gin (data);
CREATE INDEX parts ON ONLY keep.events (at);
DROP INDEX keep.orders_total;
DROP TABLE keep.dropped;
ALTER TABLE keep.orders DROP gone;
SELECT relation, statement FROM architect.index_advised ORDER BY (evidence -> 'cost_before')::int DESC;
SELECT undecided, reason FROM architect.index_advice_status WHERE rule = 'advised';
DROP INDEX keep.orders_1, keep.coarse;
CREATE INDEX fine ON keep.orders USING brin (id) WITH (pages_per_range = 32);
CREATE INDEX right_class ON keep.orders USING gin (data jsonb_path_ops);
CREATE INDEX parts_1 ON keep.events_1 (at);
ALTER INDEX keep.parts ATTACH PARTITION keep.parts_1;
SELECT relation, statement FROM architect.index_advised;
SELECT action, relation, index, predicted_bytes, size_bytes > 0 AS sized, scans, query_id, predicted_ratio, verdict FROM architect.index_review();

-- To understand advice, nothing of it is run; and where another rule says the same, that is enough.
CREATE FUNCTION keep.trap(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trap'; END $$;
ALTER TABLE keep.orders ADD referred integer REFERENCES keep.orders;
RESET ROLE;
INSERT INTO keep.advice (advised, advice) VALUES
('regress_keep_owner', keep.as_json('create',
    'CREATE INDEX CONCURRENTLY t ON keep.orders USING btree (keep.trap(1), (keep.trap(id) + 1)) WHERE (keep.trap(2) = 1);',
    'undo', 'keep.orders', 40, 39, '[]', 'likely')),
('regress_keep_owner', keep.as_json('create', 'CREATE INDEX CONCURRENTLY r ON keep.orders USING btree (referred);',
    'undo', 'keep.orders', 39, 38, '[]', 'likely'));
SET ROLE regress_keep_owner;
SELECT architect.index_advise_keep();
SELECT rule, columns, statement FROM architect.index_advice WHERE statement LIKE 'CREATE%';
SELECT count(*) AS advised FROM architect.index_advised;

-- New advice takes the place of what was not done; what was done stays to be reviewed.
DROP INDEX keep.parts;
SELECT architect.index_advise_keep(weights => '{1000000}');
SELECT count(*) AS advised FROM architect.index_advised;
SELECT relation, index FROM architect.index_review() GROUP BY 1, 2 ORDER BY 1, 2;
CREATE TABLE keep.later (id integer);
BEGIN READ ONLY;
SELECT architect.index_advise_report() LIMIT 1;
SELECT architect.index_advise_keep(); -- fails: read only
ROLLBACK;

-- Nobody gets advice to see that is another's, nor puts any before another.
SET ROLE regress_keep_mallory;
SELECT count(*) AS rows FROM architect.index_review();
SELECT architect.index_advise_keep();
SELECT count(*) AS advised FROM architect.index_advised;
SELECT * FROM architect.index_advice_kept; -- fails: may not
INSERT INTO architect.index_advice_kept (advised_by, action, schema_name, table_name, statement, queries)
    VALUES ('regress_keep_owner', 'create', 'keep', 'orders', 'DROP TABLE keep.orders', '[]'); -- fails: may not
SELECT architect._index_keep_advice('regress_keep_owner', '{}', '{}', '{}', '{}'); -- fails: not for everybody
SELECT architect._index_write_report('{}', '{}', '{}'); -- fails: not for everybody
SET search_path = evil, pg_catalog;
CREATE FUNCTION evil.array_agg(oid) RETURNS oid[] LANGUAGE sql AS $$ SELECT NULL::oid[] $$;
SELECT architect.index_advise_keep() AS kept;
RESET search_path;
SET ROLE regress_keep_owner;
SELECT count(*) AS advised FROM architect.index_advised;
RESET ROLE;
SELECT advised_by, count(*) FROM architect.index_advice_kept GROUP BY 1 ORDER BY 1;

-- Who comes later under the same name does not inherit it.
DROP SCHEMA evil CASCADE;
DROP ROLE regress_keep_mallory;
SET ROLE regress_keep_owner;
SELECT architect.index_advise_keep(weights => '{1000000}');
RESET ROLE;
SELECT advised_by, count(*) FROM architect.index_advice_kept GROUP BY 1 ORDER BY 1;

DROP SCHEMA keep CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_keep_owner;
