-- Btree indexes that BRIN, or hash, could replace.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE SCHEMA "Replace";
SET search_path = "Replace";

-- A small table that passes for a big one: what counts is what the catalogs say.
CREATE PROCEDURE magnify(target regclass, times integer)
    LANGUAGE sql
AS $$
    UPDATE pg_class
    SET relpages = relpages * times, reltuples = reltuples * times
    WHERE oid IN (SELECT target UNION SELECT indexrelid FROM pg_index WHERE indrelid = target);
$$;
-- Reads a thousand rows by this condition, or one, with the index that it asks for.
CREATE PROCEDURE read(target regclass, condition text)
    LANGUAGE plpgsql
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $$
BEGIN
    EXECUTE format('SELECT note FROM %s WHERE %s', target, condition);
END;
$$;

CREATE TABLE day (day date PRIMARY KEY);
INSERT INTO day SELECT date '2026-01-01' + i FROM generate_series(0, 100) AS i;
CREATE TABLE "Event" (
    gone integer,
    number bigint,
    "At" timestamptz,
    single timestamptz,
    unused timestamptz,
    amount numeric,
    name text,
    chance integer,
    day date REFERENCES day,
    kept integer,
    note text
) WITH (autovacuum_enabled = off);
ALTER TABLE "Event" DROP gone;
INSERT INTO "Event"
    SELECT i, timestamptz '2026-01-01 UTC' + i * interval '1 minute', timestamptz '2026-01-01 UTC' + i * interval '1 minute',
           timestamptz '2026-01-01 UTC' + i * interval '1 minute', i * 1.5, to_char(i, '00000000'), i * 7919 % 10007,
           date '2026-01-01' + i / 1000, i, repeat('n', 100)
    FROM generate_series(1, 20000) AS i;
CREATE UNIQUE INDEX by_number ON "Event" (number);
CREATE INDEX "by At" ON "Event" ("At") WITH (fillfactor = 95);
CREATE INDEX by_single ON "Event" (single);
CREATE INDEX by_unused ON "Event" (unused);
CREATE INDEX by_amount ON "Event" (amount DESC);
CREATE INDEX by_name ON "Event" (name);
CREATE INDEX by_chance ON "Event" (chance);
CREATE INDEX by_day ON "Event" (day);
CREATE INDEX by_at_and_number ON "Event" ("At", number);
CREATE INDEX by_some ON "Event" ("At") WHERE number > 5;
CREATE INDEX by_sum ON "Event" ((number + kept));
CREATE INDEX by_kept ON "Event" (kept);
ALTER TABLE "Event" CLUSTER ON by_kept;
COMMENT ON INDEX "by At" IS 'by time';
CREATE TABLE part (id bigint NOT NULL, at timestamptz NOT NULL, note text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10000) WITH (autovacuum_enabled = off);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10000) TO (30000) WITH (autovacuum_enabled = off);
INSERT INTO part SELECT i, timestamptz '2026-01-01 UTC' + i * interval '1 minute', repeat('n', 200) FROM generate_series(1, 20000) AS i;
CREATE INDEX part_at ON part (at);
ANALYZE day, "Event", part, part_1, part_2;

CREATE VIEW definitions AS
    SELECT pg_get_indexdef(indexrelid) AS definition, obj_description(indexrelid), indisvalid
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = '"Replace"'::regnamespace;
CREATE TABLE before AS SELECT * FROM definitions;

-- Nothing is said of indexes that are not used, and of small tables.
CALL magnify('"Event"', 100);
SELECT index FROM architect.index_brin_candidate;
CALL read('"Event"', '"At" > ''2026-01-03'' AND number <> 1');
CALL read('"Event"', 'amount > 5000');
CALL read('"Event"', 'name > '' 0001''');
CALL read('"Event"', 'chance > 10');
CALL read('"Event"', 'day > ''2026-01-02''');
CALL read('"Event"', 'number > 5 AND number > 6');
CALL read('"Event"', 'number + kept > 50');
CALL read('"Event"', 'kept > 50');
CALL read('"Event"', 'single = ''2026-01-03''');
CALL read('part', 'at > ''2026-01-02''');
SELECT pg_stat_force_next_flush();
SELECT indexrelname, idx_scan > 0 AS scanned, idx_tup_read > 10000 AS many
FROM pg_stat_user_indexes
WHERE schemaname = 'Replace' AND relname = 'Event'
ORDER BY indexrelname COLLATE "C";
SELECT index, columns, severity, confidence, regexp_replace(reason, '\d+', 'N') AS reason, benefit_bytes > 20000000 AS big
FROM architect.index_brin_candidate
ORDER BY index::text COLLATE "C";
CALL magnify('part_1', 200);
CALL magnify('part_2', 200);
SELECT index, statement, undo, lock FROM architect.index_brin_candidate ORDER BY index::text COLLATE "C" \gx
SELECT DISTINCT jsonb_object_keys(evidence) COLLATE "C" AS evidence FROM architect.index_brin_candidate ORDER BY 1;

-- The statements leave nothing to find, and the others undo them.
CREATE TABLE found AS SELECT index::text AS replaced, statement, undo FROM architect.index_brin_candidate;
SELECT regexp_split_to_table(statement, E'\n') FROM found ORDER BY statement COLLATE "C" \gexec
SELECT indexrelid::regclass, indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE amname = 'brin'
ORDER BY indexrelid::regclass::text COLLATE "C";
SELECT count(*) AS found, count(to_regclass(replaced)) AS kept FROM found;
SELECT rule, index FROM architect.index_find('{brin_candidate,bloat,invalid}');
SELECT regexp_split_to_table(undo, E'\n') FROM found ORDER BY statement COLLATE "C" \gexec
SELECT count(*) FROM (TABLE definitions EXCEPT TABLE before) AS added;
SELECT count(*) FROM (TABLE before EXCEPT TABLE definitions) AS lost;

-- A hash index needs to know the queries.
CREATE TABLE page (id integer PRIMARY KEY, address text, note text) WITH (autovacuum_enabled = off);
INSERT INTO page SELECT i, repeat(md5(i::text), 6), 'n' FROM generate_series(1, 10000) AS i;
CREATE INDEX by_address ON page (address);
ANALYZE page;
CALL magnify('page', 50);
CALL read('page', format('address = %L', repeat(md5('1'), 6)));
SELECT pg_stat_force_next_flush();
SELECT index FROM architect.index_hash_candidate;
SELECT undecided, reason ~ '^pg_stat_statements ' AS says_why FROM architect.index_advice_status WHERE rule = 'hash_candidate';

DROP SCHEMA "Replace" CASCADE;
DROP EXTENSION pg_architect;
