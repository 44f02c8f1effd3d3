-- Whatever invalidates the server's caches, at whatever moment, changes nothing.  A
-- server built with assertions can forget them at every opportunity; elsewhere this
-- is a test like others.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_caches_owner;
CREATE SCHEMA audit_caches AUTHORIZATION regress_caches_owner;
SET SESSION AUTHORIZATION regress_caches_owner;
SET search_path = audit_caches;
CREATE TYPE part AS (at timestamptz, span interval, class regclass);
CREATE TABLE item (id integer, k text, secret text, upper text GENERATED ALWAYS AS (upper(secret)) STORED,
                   c part, cs part[], r tstzrange, j jsonb, PRIMARY KEY (id, k));
CREATE TABLE child (id integer PRIMARY KEY, item integer, k text, FOREIGN KEY (item, k) REFERENCES item ON DELETE CASCADE);
CREATE TABLE root (id integer PRIMARY KEY, secret text, noise text) PARTITION BY RANGE (id);
CREATE TABLE part_1 (noise text, gone integer, secret text, id integer NOT NULL);
ALTER TABLE part_1 DROP COLUMN gone;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        RAISE NOTICE '% rows so far', (SELECT count(*) FROM architect.audit_log);
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END
$$;
CREATE TRIGGER look AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION look();
SELECT architect.audit_enable('item', mask => '{secret}', condition => 'k <> ''skip''', truncate => 'rows'),
       architect.audit_enable('root', exclude => '{noise}', mask => '{secret}'),
       architect.audit_enable('child', capture => 'full');
SET DateStyle = 'German';
SET TimeZone = 'Asia/Tokyo';

RESET SESSION AUTHORIZATION;
SELECT set_config('debug_discard_caches', least(max_val, '1'), false) IN ('0', '1') AS set
FROM pg_settings
WHERE name = 'debug_discard_caches';
SET SESSION AUTHORIZATION regress_caches_owner;

-- Tables of every kind, and every kind of change.
INSERT INTO item (id, k, secret, c, cs, r, j)
SELECT n, 'k', 's', ROW('2024-01-01 00:00+00', '1 day', 'pg_class')::part, ARRAY[ROW(NULL, '1 day', 'child')::part],
       tstzrange('2024-01-01 00:00+00', NULL), '[1, null]'
FROM generate_series(1, 2) AS n;
INSERT INTO child VALUES (10, 1, 'k');
UPDATE item SET secret = 't' WHERE id = 1;
BEGIN;
SELECT architect.audit_set_actor('alice', '{"a": 1}');
SAVEPOINT a;
DELETE FROM item;
ROLLBACK TO a;
DELETE FROM item WHERE id = 1;
COMMIT;
ALTER TABLE root ATTACH PARTITION part_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF root FOR VALUES FROM (10) TO (20);
INSERT INTO root VALUES (1, 's', 'x'), (11, 's', 'x');
UPDATE root SET id = 12 WHERE id = 1;
UPDATE part_2 SET noise = 'y';
ALTER TABLE root RENAME COLUMN secret TO hidden;
UPDATE part_2 SET hidden = 'y' WHERE id = 11;
TRUNCATE part_2;
TRUNCATE item CASCADE;
SELECT architect.audit_enable('root', mask => '{hidden}', capture => 'keys', truncate => 'refuse');
-- fails: TRUNCATE is refused
TRUNCATE part_1;
INSERT INTO root VALUES (2, 's');
SELECT architect.audit_enable('root', mask => '{hidden}', capture => 'keys', truncate => 'refuse');
SELECT architect.audit_disable('item');
SELECT architect.audit_enable('item', key => '{k,id}');
INSERT INTO item (id, k) VALUES (3, 'k');
RESET SESSION AUTHORIZATION;
SELECT architect.audit_maintain();
RESET ALL;

SELECT table_name, operation, record_id, changed_by, context FROM architect.audit_log ORDER BY id;
SELECT old_values, new_values FROM architect.audit_log ORDER BY id;
SELECT relation, capture, exclude, mask, key, problem FROM architect.audit_status ORDER BY table_id;

SET client_min_messages = warning;
DROP SCHEMA audit_caches CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_caches_owner;
