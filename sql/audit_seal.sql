-- A seal holds what was committed since the last one, and whatever is done to sealed
-- rows or to the seals is found and named.

\set SHOW_CONTEXT never
CREATE EXTENSION pg_architect;
CREATE ROLE regress_seal_keeper;
CREATE ROLE regress_seal_other;
CREATE SCHEMA audit_seal;
GRANT USAGE ON SCHEMA audit_seal TO PUBLIC;
CREATE TABLE audit_seal.item (id integer PRIMARY KEY, name text, price numeric, doc jsonb);

-- Without a log, or a seal, there is nothing to do.
SELECT architect.audit_seal();
SELECT architect.audit_digest();
SELECT * FROM architect.audit_verify_seals();
-- fails: nor the seal that a digest speaks of
SELECT seal, problem FROM architect.audit_verify_seals('pg_architect seal 1 2026-02-01T10:00:00Z ' || repeat('0', 64));

SELECT architect.audit_enable('audit_seal.item');
INSERT INTO audit_seal.item VALUES (1, 'mug', 9.50, '{"a": [1, null]}'), (2, 'Größe', NULL, 'null'), (3, NULL, 1e-5, NULL);
BEGIN;
UPDATE audit_seal.item SET price = 1 WHERE id = 1;
SAVEPOINT a;
UPDATE audit_seal.item SET price = 2 WHERE id = 1;
ROLLBACK TO a;
UPDATE audit_seal.item SET price = 3 WHERE id = 1;
COMMIT;
SELECT architect.audit_set_actor('alice', '{"request": 1}'), architect.audit_seal();
SELECT architect.audit_seal() AS nothing_new;

-- What this transaction has changed itself is for the next seal, and so is what is rolled back for none.
BEGIN;
UPDATE audit_seal.item SET id = 4 WHERE id = 3;
SELECT architect.audit_seal() AS nothing_new;
COMMIT;
BEGIN;
DELETE FROM audit_seal.item;
ROLLBACK;
DO $$ BEGIN FOR i IN 10..20 LOOP INSERT INTO audit_seal.item VALUES (i); COMMIT; END LOOP; END $$;
SELECT architect.audit_seal();
TRUNCATE audit_seal.item;
SELECT architect.audit_seal();
INSERT INTO audit_seal.item VALUES (1, 'not sealed');

SELECT seal, rows, transactions, last_id, length(root), length(previous), length(hash) FROM architect.audit_seals ORDER BY seal;
SELECT seal, count(*) FROM architect.audit_seal_rows, architect._audit_seal_records(data) GROUP BY seal ORDER BY seal;
-- A digest is one line.
SELECT regexp_replace(architect.audit_digest(), '\d{4}-\S+ \w{64}$', 'TIME HASH') AS digest;
SELECT architect.audit_digest() AS digest \gset

-- All holds, with the digest too.
SELECT * FROM architect.audit_verify_seals();
SELECT * FROM architect.audit_verify_seals(:'digest');
-- fails: not a digest
SELECT * FROM architect.audit_verify_seals('seal 3');
-- Settings of the session have no say.
SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German'; SET extra_float_digits = -3; SET bytea_output = 'escape';
SELECT * FROM architect.audit_verify_seals(:'digest');
RESET ALL;

-- Runs a statement, shows what is found, and takes it back.
CREATE PROCEDURE audit_seal.attack(statement text) LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    BEGIN
        EXECUTE statement;
        FOR found IN SELECT verified.*, log.record_id, log.id IS NOT NULL AS fits
                     FROM architect.audit_verify_seals() WITH ORDINALITY AS verified
                     LEFT JOIN architect.audit_log AS log
                       ON log.id = verified.log_id AND log.transaction_id = verified.transaction_id
                     ORDER BY verified.ordinality
        LOOP
            RAISE INFO 'seal % row % (% %): %', found.seal, found.log_id, found.record_id,
                CASE WHEN found.fits THEN 'is there' ELSE 'is not there' END, found.problem;
        END LOOP;
        RAISE EXCEPTION 'undo' USING ERRCODE = 'P0099';
    EXCEPTION WHEN SQLSTATE 'P0099' THEN
        NULL;
    END;
END
$$;

-- Rows that are changed, in any column: what was there is missing, or not as it was.
DO $$
DECLARE
    att record;
BEGIN
    FOR att IN SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
               WHERE attrelid = 'architect.audit_log'::regclass AND attnum > 0
    LOOP
        RAISE INFO '%', att.attname;
        CALL audit_seal.attack(format(
            'UPDATE architect.audit_log SET %1$I = ' || CASE att.type
                WHEN 'xid8' THEN '''3'''
                WHEN 'timestamp with time zone' THEN '%1$I + interval ''1 us'''
                WHEN 'jsonb' THEN 'coalesce(%1$I, ''{}'') || ''{"x": 1}'''
                WHEN 'text' THEN 'coalesce(%1$I, '''') || ''x'''
                ELSE '%1$I + 1000' END || ' WHERE id = 2', att.attname));
    END LOOP;
END
$$;
CALL audit_seal.attack($$UPDATE architect.audit_log SET new_values = new_values - 'doc' WHERE id = 1$$);
CALL audit_seal.attack($$UPDATE architect.audit_log SET new_values = replace(new_values::text, '9.50', '9.5')::jsonb WHERE id = 1$$);
-- NULL and an empty text are not the same, nor does text move from one column to the next.
CALL audit_seal.attack($$UPDATE architect.audit_log SET session_role = '' WHERE id = 1$$);
CALL audit_seal.attack($$UPDATE architect.audit_log SET table_schema = 'audit_seali', table_name = 'tem' WHERE id = 1$$);
-- Two rows that swap what they say.
CALL audit_seal.attack($$UPDATE architect.audit_log AS log SET new_values = other.new_values FROM architect.audit_log AS other
                         WHERE (log.id, other.id) IN ((1, 2), (2, 1))$$);
CALL audit_seal.attack($$UPDATE architect.audit_log SET id = 3 - id WHERE id IN (1, 2)$$);
-- Rows that are gone, one and all of a seal.
CALL audit_seal.attack('DELETE FROM architect.audit_log WHERE id = 3');
CALL audit_seal.attack('DELETE FROM architect.audit_log WHERE id <= 6');
-- A row that is too much: in a sealed transaction, in one of which nothing was sealed, twice the same.
CREATE FUNCTION audit_seal.forged(forged bigint, changes jsonb) RETURNS SETOF architect.audit_log LANGUAGE sql AS
    $$SELECT (jsonb_populate_record(log, changes)).* FROM architect.audit_log AS log WHERE id = forged$$;
CALL audit_seal.attack($$INSERT INTO architect.audit_log SELECT * FROM audit_seal.forged(4, '{"id": 1000}')$$);
CALL audit_seal.attack($$INSERT INTO architect.audit_log SELECT * FROM audit_seal.forged(15, '{"id": 1000}')$$);
CALL audit_seal.attack($$INSERT INTO architect.audit_log SELECT * FROM audit_seal.forged(4, '{"id": 1000, "transaction_id": "3"}')$$);
CALL audit_seal.attack($$INSERT INTO architect.audit_log SELECT * FROM audit_seal.forged(4, '{"transaction_id": "3"}')$$);
CALL audit_seal.attack($$INSERT INTO architect.audit_log SELECT * FROM audit_seal.forged(4, '{}')$$);

-- Records: a bit of a salt, of a leaf, of the id; a record less; a chunk less; what is no record.
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 17, get_byte(data, 17) # 1) WHERE seal = 1');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 64, get_byte(data, 64) # 1) WHERE seal = 1');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 15, 99) WHERE seal = 3');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = substr(data, 66) WHERE seal = 1');
CALL audit_seal.attack('DELETE FROM architect.audit_seal_rows WHERE seal = 3');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = data || data WHERE seal = 3');
CALL audit_seal.attack($$UPDATE architect.audit_seal_rows SET data = data || '\x00' WHERE seal = 3$$);
CALL audit_seal.attack($$UPDATE architect.audit_seal_rows SET data = '' WHERE seal = 3$$);
-- Flags: a row that is said to be erased, or removed, and is not; one that is removed and said to be.
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 16, 1) WHERE seal = 3');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 16, 2) WHERE seal = 3');
CALL audit_seal.attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 16, 3) WHERE seal = 3');
CALL audit_seal.attack($$WITH gone AS (DELETE FROM architect.audit_log WHERE id = 1)
                         UPDATE architect.audit_seal_rows SET data = set_byte(data, 16, 2) WHERE seal = 1$$);

-- Seals: each column, the number, one in between, all.
DO $$
DECLARE
    att record;
BEGIN
    FOR att IN SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
               WHERE attrelid = 'architect.audit_seals'::regclass AND attnum > 1
    LOOP
        RAISE INFO '%', att.attname;
        CALL audit_seal.attack(format(
            'UPDATE architect.audit_seals SET %1$I = ' || CASE att.type
                WHEN 'timestamp with time zone' THEN '%1$I + interval ''1 us'''
                WHEN 'pg_snapshot' THEN '''3:1000000000:'''
                WHEN 'bytea' THEN 'set_byte(%1$I, 31, get_byte(%1$I, 31) # 1)'
                WHEN 'text' THEN '%1$I || ''1'''
                ELSE '%1$I - 1' END || ' WHERE seal = 2', att.attname));
    END LOOP;
END
$$;
CALL audit_seal.attack('UPDATE architect.audit_seals SET seal = 4 WHERE seal = 3');
CALL audit_seal.attack('DELETE FROM architect.audit_seals WHERE seal = 2');
CALL audit_seal.attack('DELETE FROM architect.audit_seals');

-- The last seal cut off with all that it has can only be seen with its digest.
BEGIN;
DELETE FROM architect.audit_seals WHERE seal = 3;
DELETE FROM architect.audit_seal_rows WHERE seal = 3;
SELECT * FROM architect.audit_verify_seals();
SELECT * FROM architect.audit_verify_seals(:'digest');
ROLLBACK;
-- So can a chain that is made to fit, and one that is made anew over a changed log.
BEGIN;
UPDATE architect.audit_seals
SET sealed_at = 'epoch',
    hash = architect._audit_seal_hash(seal, 'epoch', origin, snapshot, last_id, rows, transactions, root, previous)
WHERE seal = 3;
SELECT * FROM architect.audit_verify_seals();
SELECT * FROM architect.audit_verify_seals(:'digest');
DROP TABLE architect.audit_seals, architect.audit_seal_rows, architect.audit_seal_erasures;
UPDATE architect.audit_log SET changed_by = 'nobody';
DO $$ BEGIN PERFORM architect.audit_seal(); END $$;
SELECT * FROM architect.audit_verify_seals();
SELECT * FROM architect.audit_verify_seals(:'digest');
DROP TABLE architect.audit_seals, architect.audit_seal_rows, architect.audit_seal_erasures;
SELECT * FROM architect.audit_verify_seals(:'digest');
ROLLBACK;

-- fails: whoever was not let by the extension's owner, whatever he owns
SET ROLE regress_seal_other;
SELECT architect.audit_seal();
SELECT * FROM architect.audit_verify_seals();
SELECT architect.audit_digest();
SELECT count(*) FROM architect.audit_seal_rows;
SELECT count(*) FROM architect.audit_seal_erasures;
-- The seals themselves are no secret.
SELECT count(*) FROM architect.audit_seals;
RESET ROLE;
GRANT EXECUTE ON FUNCTION architect.audit_seal(), architect.audit_verify_seals(text), architect.audit_digest()
    TO regress_seal_keeper;
SET ROLE regress_seal_keeper;
SELECT architect.audit_seal();
SELECT * FROM architect.audit_verify_seals(:'digest');
SELECT substr(architect.audit_digest(), 1, 19) AS digest;
-- fails: still nothing of what is behind
SELECT architect._audit_seal();
SELECT count(*) FROM architect.audit_seal_rows;
RESET ROLE;

-- fails: a snapshot that may be older than the last seal
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT architect.audit_seal();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT architect.audit_erase('audit_seal.item', '1', '{name}');
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA audit_seal CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP OWNED BY regress_seal_keeper;
DROP ROLE regress_seal_keeper, regress_seal_other;
