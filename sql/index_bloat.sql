-- Indexes that take more room than they need.

CREATE EXTENSION pg_architect;
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA "Bloat";
SET search_path = "Bloat";
CREATE ROLE regress_bloat_owner;
GRANT USAGE ON SCHEMA "Bloat" TO regress_bloat_owner;

-- A small table that passes for a big one: what counts is what the catalogs say.
CREATE PROCEDURE magnify(target regclass, times integer)
    LANGUAGE sql
AS $$
    UPDATE pg_class
    SET relpages = relpages * times, reltuples = reltuples * times
    WHERE oid IN (SELECT target UNION SELECT indexrelid FROM pg_index WHERE indrelid = target);
$$;
CREATE PROCEDURE inflate(target regclass, times float8)
    LANGUAGE sql
AS $$ UPDATE pg_class SET relpages = relpages * times WHERE oid = target $$;

CREATE TABLE "Order" (gone integer, id bigint PRIMARY KEY, customer integer, status text, "Shipped" timestamptz, code text, tags integer[],
    EXCLUDE USING btree (code WITH =)) WITH (autovacuum_enabled = off);
ALTER TABLE "Order" DROP gone;
INSERT INTO "Order"
    SELECT i, i % 500, CASE WHEN i % 50 = 0 THEN 'open' ELSE 'done' END,
           CASE WHEN i % 3 = 0 THEN now() + i * interval '1 second' END, md5(i::text), ARRAY[i, i + 1]
    FROM generate_series(1, 19600) AS i;
ANALYZE "Order";
CREATE INDEX by_customer ON "Order" (customer);
CREATE INDEX "by Code" ON "Order" (code DESC) INCLUDE (customer);
CREATE INDEX by_shipped ON "Order" ("Shipped");
CREATE INDEX by_upper ON "Order" (upper(code));
CREATE INDEX by_open ON "Order" (id) WHERE status <> 'open';
CREATE INDEX by_hash ON "Order" USING hash (id);
CREATE INDEX by_tags ON "Order" USING gin (tags);
CREATE INDEX by_thin ON "Order" (id) WITH (fillfactor = 30);
CREATE INDEX by_both ON "Order" (customer, id);
CREATE INDEX by_invalid ON "Order" (code, id);
CREATE TABLE small (id integer PRIMARY KEY) WITH (autovacuum_enabled = off);
INSERT INTO small SELECT generate_series(1, 20000);
CREATE TABLE part (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10000) WITH (autovacuum_enabled = off);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10000) TO (20000) WITH (autovacuum_enabled = off);
INSERT INTO part SELECT i, date '2026-01-01' + i % 300 FROM generate_series(1, 19999) AS i;
CREATE INDEX part_by_id ON part (id);
CREATE INDEX alone ON part_2 (id DESC, at);
CREATE TABLE stale (id bigint) WITH (autovacuum_enabled = off);
INSERT INTO stale SELECT generate_series(1, 20000);
CREATE INDEX ON stale (id);
CREATE TABLE unseen (id bigint) WITH (autovacuum_enabled = off);
INSERT INTO unseen SELECT generate_series(1, 20000);
CREATE INDEX ON unseen (id);
CREATE VIEW found AS
    SELECT relation, index, columns, severity, confidence, regexp_replace(reason, '\d+ [kM]B', 'N', 'g') AS reason,
           round(benefit_bytes / (evidence ->> 'index_bytes')::numeric, 1) AS share, statement, undo, lock
    FROM architect.index_bloat;
CREATE VIEW doubts AS SELECT reason FROM architect.index_advice_status WHERE rule = 'bloat';
SELECT pg_stat_force_next_flush();
VACUUM ANALYZE "Order", small, part_1, part_2, stale;

-- Fresh ones of a big table are not found, whatever their kind; what is not known is said.
CALL magnify('"Order"', 128);
CALL magnify('part_1', 128);
CALL magnify('part_2', 128);
SELECT index FROM found;
SELECT * FROM doubts;

-- Twice as big is; a fifth more is not, nor what is small.
CALL inflate('"Order_pkey"', 2);
CALL inflate('by_customer', 3);
CALL inflate('"by Code"', 2);
CALL inflate('by_shipped', 1.2);
CALL inflate('by_upper', 2);
CALL inflate('by_open', 2);
CALL inflate('by_hash', 2);
CALL inflate('by_thin', 1.2);
CALL inflate('by_both', 1.3);
CALL inflate('"Order_code_excl"', 2);
CALL inflate('by_invalid', 2);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_invalid'::regclass;
CALL inflate('small_pkey', 10);
CALL inflate('part_2_id_idx', 4);
CALL inflate('alone', 3);
SELECT index, columns, severity, confidence, reason, share FROM found ORDER BY index::text COLLATE "C";
SELECT DISTINCT jsonb_object_keys(evidence) COLLATE "C" AS evidence FROM architect.index_bloat ORDER BY 1;
SELECT index, statement, undo, lock FROM found ORDER BY index::text COLLATE "C";
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'by_invalid'::regclass;

-- Where the statistics are stale, or there are none, there is a doubt and no finding.
CALL inflate('stale_id_idx', 100);
CALL inflate('unseen_id_idx', 100);
UPDATE pg_class SET relpages = 10000 WHERE oid = 'unseen_id_idx'::regclass;
SELECT index FROM found WHERE relation = 'stale'::regclass;
INSERT INTO stale SELECT generate_series(1, 3000);
SELECT pg_stat_force_next_flush();
SELECT index FROM found WHERE relation = 'stale'::regclass;
SELECT * FROM doubts;
UPDATE pg_class SET reltuples = 100 WHERE oid = 'stale_id_idx'::regclass;
ANALYZE stale;
UPDATE pg_class SET relpages = 10000, reltuples = 100 WHERE oid = 'stale_id_idx'::regclass;
SELECT index FROM found WHERE relation = 'stale'::regclass;
SELECT * FROM doubts;

-- Who may not read the columns sees no statistics; others' tables are not seen at all.
ALTER TABLE "Order" OWNER TO regress_bloat_owner;
REVOKE ALL ON "Order" FROM regress_bloat_owner;
GRANT SELECT ON found, doubts TO regress_bloat_owner;
SET ROLE regress_bloat_owner;
SELECT index FROM architect.index_bloat ORDER BY index::text COLLATE "C";
SELECT reason FROM architect.index_advice_status WHERE rule = 'bloat';
RESET ROLE;
GRANT pg_monitor TO regress_bloat_owner;
SET ROLE regress_bloat_owner;
SELECT index FROM architect.index_bloat;
SELECT reason FROM architect.index_advice_status WHERE rule = 'bloat';
RESET ROLE;
REVOKE pg_monitor FROM regress_bloat_owner;
GRANT SELECT ON "Order" TO regress_bloat_owner;
SET ROLE regress_bloat_owner;
SELECT count(*) FROM architect.index_bloat;
RESET ROLE;

-- The statements, run, leave nothing to find.
SELECT statement FROM architect.index_bloat ORDER BY statement COLLATE "C" \gexec
SELECT index FROM found;

-- Exact, with pgstattuple.
SELECT architect.index_bloat_measure('small_pkey'); -- fails: no extension
CREATE EXTENSION pgstattuple;
DELETE FROM small WHERE id % 10 > 0;
VACUUM small;
SELECT index_bytes > 300000 AS big, leaf_density < 20 AS thin, fillfactor, fresh_bytes BETWEEN 30000 AND 60000 AS fresh
FROM architect.index_bloat_measure('small_pkey');
SELECT round(leaf_density / fillfactor) AS full, fillfactor FROM architect.index_bloat_measure('by_thin');
SELECT architect.index_bloat_measure('by_tags'); -- fails: not a btree
SELECT architect.index_bloat_measure('part_by_id'); -- fails: partitioned
SET ROLE regress_bloat_owner;
SELECT architect.index_bloat_measure('by_thin'); -- fails: pgstattuple is for pg_stat_scan_tables
RESET ROLE;

DROP EXTENSION pgstattuple;
DROP SCHEMA "Bloat" CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_bloat_owner;
