-- What keeps the log from following a table is a gap: it leaves a trace in the log
-- and in the table's shapes, and audit_as_of shows no time before it.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_gap_owner;
CREATE SCHEMA audit_gap AUTHORIZATION regress_gap_owner;
CREATE SCHEMA audit_gap_hostile AUTHORIZATION regress_gap_owner;
SET SESSION AUTHORIZATION regress_gap_owner;
SET search_path = audit_gap;
CREATE FUNCTION mark(name text) RETURNS void LANGUAGE sql AS $$ SELECT architect.audit_mark(name) $$;

-- Whether the table can be shown as of a mark, or why not, and when at the earliest.
CREATE FUNCTION show(target regclass, mark text)
    RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    query text := format('SELECT count(*) FROM architect.audit_as_of(NULL::%s, ', target);
    detail text;
    hint text;
    rows bigint;
BEGIN
    EXECUTE query || 'mark => $1)' INTO rows USING mark;
    RETURN rows || ' rows';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    IF hint ~ 'earliest time' THEN
        EXECUTE query || 'at => $1)' INTO rows
            USING greatest(regexp_replace(hint, '^[^0-9]*(.*)\.$', '\1')::timestamptz,
                           (SELECT max(late.committed_at) FROM architect.audit_commits AS late));
        RETURN concat_ws(' ', detail, rows, 'rows later.');
    END IF;
    RETURN concat_ws(' ', detail, hint);
END
$$;

-- Triggers that are disabled, dropped, and come again: nothing older than the last can be shown.
CREATE TABLE item (id integer PRIMARY KEY, name text);
SELECT mark('before');
SELECT architect.audit_enable('item');

-- The gaps of a table in the log, and its shapes.
CREATE FUNCTION gaps(target regclass)
    RETURNS TABLE (gap text, detail text)
    LANGUAGE sql
AS $$
    SELECT log.context ->> 'gap', log.context ->> 'detail'
    FROM architect.audit_log AS log
    JOIN architect.audit_tables AS registered USING (table_id)
    WHERE registered.relation = target AND log.operation = 'GAP'
      AND num_nonnulls(log.record_id, log.old_values, log.new_values) = 0
    ORDER BY log.id
$$;
CREATE VIEW shapes AS
    SELECT registered.relation::text, shape.capture, shape.condition, shape.gap, shape.whole,
           (SELECT string_agg(concat_ws(' ', item.name, item.type, item.hidden), ', ' ORDER BY item.number)
            FROM architect.audit_columns AS item WHERE item.shape_id = shape.shape_id) AS columns
    FROM architect.audit_shapes AS shape
    JOIN architect.audit_tables AS registered USING (table_id)
    ORDER BY shape.shape_id;

INSERT INTO item VALUES (1, 'one'), (2, 'two');
SELECT mark('item');
UPDATE item SET name = 'logged';
SELECT show('item', 'before'), show('item', 'item');
ALTER TABLE item DISABLE TRIGGER architect_audit;
SELECT show('item', 'item');
UPDATE item SET name = 'unseen';
ALTER TABLE item ENABLE TRIGGER architect_audit;
SELECT show('item', 'item');
SELECT mark('enabled');
BEGIN;
ALTER TABLE item DISABLE TRIGGER USER;
DELETE FROM item WHERE id = 2;
ALTER TABLE item ENABLE TRIGGER USER;
COMMIT;
SELECT show('item', 'enabled');
SELECT mark('user');
ALTER TABLE item ENABLE REPLICA TRIGGER architect_audit_truncate;
ALTER TABLE item ENABLE ALWAYS TRIGGER architect_audit_truncate;
SELECT show('item', 'user');
SELECT mark('always');
-- What is taken back is no gap.
BEGIN;
ALTER TABLE item DISABLE TRIGGER architect_audit;
UPDATE item SET name = 'never';
ROLLBACK;
UPDATE item SET name = 'logged again';
SELECT show('item', 'always');
SELECT architect.audit_disable('item');
INSERT INTO item VALUES (3, 'not audited');
SELECT architect.audit_enable('item');
SELECT show('item', 'always');
SELECT mark('item again');
DROP TRIGGER architect_audit ON item;
SELECT architect.audit_enable('item');
SELECT show('item', 'item again');
SELECT * FROM gaps('item');
SELECT gap, whole FROM shapes WHERE relation = 'item';

-- A period under a condition, and one without values.
CREATE TABLE part (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('part', condition => 'id > 1');
INSERT INTO part VALUES (1, 'one'), (2, 'two');
SELECT mark('condition');
SELECT architect.audit_enable('part', capture => 'keys');
SELECT mark('keys');
SELECT architect.audit_enable('part', capture => 'full');
SELECT mark('full');
UPDATE part SET name = 'x';
SELECT show('part', 'condition'), show('part', 'keys'), show('part', 'full');
SELECT capture, condition, gap, whole FROM shapes WHERE relation = 'part';

-- TRUNCATE without rows; with rows it is no gap.
CREATE TABLE emptied (id integer PRIMARY KEY, name text);
SELECT architect.audit_enable('emptied', truncate => 'rows');
INSERT INTO emptied VALUES (1, 'a'), (2, 'b');
SELECT mark('filled');
TRUNCATE emptied;
INSERT INTO emptied VALUES (1, 'again');
SELECT show('emptied', 'filled');
SELECT architect.audit_enable('emptied');
TRUNCATE emptied;
INSERT INTO emptied VALUES (3, 'new');
SELECT show('emptied', 'filled');

-- Partitions that come and go with rows; without, nothing is lost.
CREATE TABLE sale (id integer PRIMARY KEY, note text) PARTITION BY RANGE (id);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE sale_2a PARTITION OF sale_2 FOR VALUES FROM (10) TO (15);
SELECT architect.audit_enable('sale');
SELECT mark('none');
INSERT INTO sale VALUES (1, 'a'), (11, 'b');
CREATE TABLE sale_3 PARTITION OF sale FOR VALUES FROM (20) TO (30);
CREATE TABLE sale_2b (id integer PRIMARY KEY, note text);
ALTER TABLE sale_2 ATTACH PARTITION sale_2b FOR VALUES FROM (15) TO (20);
ALTER TABLE sale DETACH PARTITION sale_3;
INSERT INTO sale_3 VALUES (20, 'c');
SELECT show('sale', 'none');
SELECT * FROM gaps('sale');
SELECT mark('two');
ALTER TABLE sale ATTACH PARTITION sale_3 FOR VALUES FROM (20) TO (30);
SELECT show('sale', 'two');
SELECT mark('three');
ALTER TABLE sale_2 DETACH PARTITION sale_2a;
SELECT show('sale', 'three');
SELECT mark('detached');
TRUNCATE sale_3;
SELECT show('sale', 'detached');
SELECT mark('truncated');
DROP TABLE sale_1;
SELECT show('sale', 'truncated');
SELECT * FROM gaps('sale');

-- Values that ALTER TABLE computes; those that only become another type, and a rewrite, are none.
CREATE TABLE wide (id integer PRIMARY KEY, a text, n integer);
SELECT architect.audit_enable('wide');
INSERT INTO wide VALUES (1, '1', 1), (2, '2', 2);
SELECT mark('wide');
UPDATE wide SET a = '3' WHERE id = 2;
ALTER TABLE wide ALTER n TYPE bigint, ADD b integer DEFAULT (random() * 10)::integer;
ALTER TABLE wide ALTER a TYPE integer USING (a)::integer;
ALTER TABLE wide SET UNLOGGED;
ALTER TABLE wide SET LOGGED;
SELECT show('wide', 'wide');
ALTER TABLE wide ALTER a TYPE integer USING a + 1;
SELECT show('wide', 'wide');
SELECT gap, regexp_replace(detail, 'audit_gap\.', '') AS detail FROM gaps('wide');
SELECT columns FROM shapes WHERE relation = 'wide';
-- Columns that are dropped and renamed are told under their names of now.
ALTER TABLE wide RENAME a TO aa;
ALTER TABLE wide DROP n;
ALTER TABLE wide ADD n text;
SELECT name, type, hidden, present_name FROM architect.audit_columns AS item JOIN architect.audit_tables AS registered USING (table_id)
WHERE registered.relation = 'wide'::regclass AND name IN ('a', 'aa', 'n') ORDER BY shape_id, number;

-- Objects of others in the way change nothing of all this.
SET search_path = audit_gap_hostile;
CREATE FUNCTION used(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'used'; END $$;
CREATE FUNCTION used(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'used'; END $$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = used);
CREATE OPERATOR > (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = used);
CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'used'; END $$;
CREATE FUNCTION pg_visible_in_snapshot(xid8, pg_snapshot) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'used'; END $$;
CREATE TABLE pg_attribute (id integer);
SET search_path = audit_gap_hostile, pg_catalog, audit_gap;
ALTER TABLE emptied RENAME name TO label;
SELECT architect.audit_mark('hostile') IS NULL AS marked;
UPDATE emptied SET label = 'x';
SELECT * FROM architect.audit_as_of(NULL::emptied, mark => 'hostile');
SELECT * FROM architect.audit_verify('emptied');
SELECT count(*) FROM architect.audit_changes('emptied', '-infinity');
SELECT architect.audit_baseline('emptied');
RESET search_path;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_gap, audit_gap_hostile CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_gap_owner;
