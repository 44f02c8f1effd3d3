-- Values are taken out of the log, that there were changes is kept, and the seals hold.

\set SHOW_CONTEXT never
CREATE EXTENSION pg_architect;
CREATE ROLE regress_erase_owner;
CREATE ROLE regress_erase_other;
CREATE SCHEMA audit_erase AUTHORIZATION regress_erase_owner;
GRANT USAGE ON SCHEMA audit_erase TO regress_erase_other;
SET SESSION AUTHORIZATION regress_erase_owner;
SET search_path = audit_erase;

CREATE TABLE person (
    id integer PRIMARY KEY, name text, email text, born date, doc jsonb, card text,
    short text GENERATED ALWAYS AS (left(email, 1)) STORED, cold boolean DEFAULT false);
-- fails: not audited
SELECT architect.audit_erase('person', '1', '{email}');
SELECT architect.audit_enable('person', capture => 'full', mask => '{card}', exclude => '{cold}', truncate => 'rows');
INSERT INTO person VALUES
    (1, 'Ada', 'ada@example.org', '1815-12-10', 'null', '4111', DEFAULT),
    (2, 'Bob', 'bob@example.org', '1985-01-01', '{"email": "bob@example.org"}', NULL, DEFAULT);
UPDATE person SET email = 'lovelace@example.org' WHERE id = 1;
SELECT architect.audit_enable('person', mask => '{card}', exclude => '{cold}', truncate => 'rows');
UPDATE person SET email = NULL, doc = NULL WHERE id = 1;
UPDATE person SET name = 'Ada L.', email = 'ada@example.org' WHERE id = 1;
RESET SESSION AUTHORIZATION;
SELECT architect.audit_seal();
SET SESSION AUTHORIZATION regress_erase_owner;
UPDATE person SET born = '1815-12-11', card = '5500' WHERE id = 1;
UPDATE person SET id = 7 WHERE id = 1;
UPDATE person SET email = 'seven@example.org', doc = '7' WHERE id = 7;
DELETE FROM person WHERE id = 7;
INSERT INTO person (id, name, email) VALUES (1, 'Eve', 'eve@example.org');
TRUNCATE person;
CREATE VIEW log AS
    SELECT id, operation AS op, record_id AS rec, new_record_id AS new, old_values, new_values, changed_by FROM architect.audit_log;
SELECT id, op, rec, new FROM log ORDER BY id;

-- fails: whoever does not own the table
SET SESSION AUTHORIZATION regress_erase_other;
SELECT architect.audit_erase('audit_erase.person', '1', '{email}');
SET SESSION AUTHORIZATION regress_erase_owner;
-- fails: nothing is named
SELECT architect.audit_erase(NULL, '1', '{email}');
SELECT architect.audit_erase('person', NULL, '{email}');
SELECT architect.audit_erase('person', '1', NULL);
SELECT architect.audit_erase('person', '1', '{}');
SELECT architect.audit_erase('person', '1', '{NULL}');
-- fails: no such column
SELECT architect.audit_erase('person', '1', '{email,phone}');
-- fails: record_id would show it
SELECT architect.audit_erase('person', '1', '{email,id}');

-- All that has the record under any of its keys, with what is generated from the column.
SELECT architect.audit_erase('person', '7', '{email}');
SELECT id, op, rec, old_values -> 'email' AS old, new_values -> 'email' AS new, old_values -> '' AS old_marks, new_values -> '' AS new_marks,
       old_values ->> 'short' AS old_short, new_values ->> 'short' AS new_short
FROM log WHERE old_values ? 'email' OR new_values ? 'email' ORDER BY id;
-- Who did it, of which columns; and no value.
SELECT operation, record_id, changed_by, old_values, new_values, context - 'digest' AS context, context ? 'digest' AS sealed
FROM architect.audit_log WHERE operation = 'ERASE' ORDER BY id;
-- The rest is as it was.
SELECT id, op, old_values - 'email' - 'short' - '' AS old, new_values - 'email' - 'short' - '' AS new FROM log WHERE op <> 'ERASE' ORDER BY id;
-- Asked again there is nothing to do, and nothing is logged.
SELECT architect.audit_erase('person', '7', '{email}');
-- Nor of a record that the log does not know, of what is masked, or excluded.
SELECT architect.audit_erase('person', '99', '{email}');
SELECT architect.audit_erase('person', '1', '{card,cold}');
-- The other life of key 1 goes by that key.
SELECT architect.audit_erase('person', '1', '{email,name}');
SELECT count(*) AS left_over FROM log WHERE old_values::text || new_values::text || 'x' ~ 'ada@|lovelace|seven@|eve@|Ada|Eve';
SELECT count(*) FROM architect.audit_log WHERE operation = 'ERASE';

-- JSON null stays told from SQL NULL, and a document that is a value goes.
SELECT old_values -> '' AS old, new_values -> '' AS new FROM log WHERE id IN (1, 3) ORDER BY id;
SELECT architect.audit_erase('person', '2', '{doc}');
SELECT new_values FROM log WHERE id = 2;

-- A column that is gone goes by the name that the log has.
CREATE TABLE renamed (id integer PRIMARY KEY, phone text, fax text);
SELECT architect.audit_enable('renamed', capture => 'keys');
SELECT architect.audit_enable('renamed');
INSERT INTO renamed VALUES (1, '0123', '0124');
ALTER TABLE renamed DROP fax;
SELECT architect.audit_erase('renamed', '1', '{fax}');
-- fails: not in the log of this record
SELECT architect.audit_erase('renamed', '2', '{fax}');
SELECT new_values FROM log WHERE rec = '1' AND op = 'INSERT' AND new_values ? 'fax';
-- One that has another name by now goes by that, and leaves alone what has its old name.
ALTER TABLE renamed RENAME phone TO mobile;
ALTER TABLE renamed ADD phone text;
UPDATE renamed SET phone = '0500', mobile = '0600';
SELECT architect.audit_erase('renamed', '1', '{mobile}');
SELECT old_values, new_values FROM log WHERE rec = '1' AND op = 'UPDATE' AND new_values ? 'mobile';
-- A table that is not audited any more still has its log.
SELECT architect.audit_disable('renamed');
SELECT architect.audit_erase('renamed', '1', '{phone}');
SELECT new_values FROM log WHERE rec = '1' AND op = 'INSERT' AND new_values ? 'fax';

-- A key of several columns, a partitioned table, and fails for a partition of it.
CREATE TABLE parted (a integer, b text, secret text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
SELECT architect.audit_enable('parted');
INSERT INTO parted VALUES (1, 'x"y', 'hush'), (1, 'z', 'hush');
SELECT architect.audit_erase('parted', '["1", "x\"y"]', '{secret}');
SELECT rec, new_values FROM log WHERE new_values ? 'secret' ORDER BY id;
SELECT architect.audit_erase('parted_1', '["1", "z"]', '{secret}');

-- The row before an UPDATE, which context has where the key is deferrable, is erased too: sealed or not.
CREATE TABLE slow (id integer PRIMARY KEY DEFERRABLE, email text, fax text, n integer);
SELECT architect.audit_enable('slow');
INSERT INTO slow VALUES (1, 'one@x', '01', 1), (2, 'two@x', '02', 1);
UPDATE slow SET n = 2;
UPDATE slow SET email = 'new@x' WHERE id = 1;
SELECT architect.audit_erase('slow', '1', '{email}');
SELECT record_id, old_values, new_values, context FROM architect.audit_log WHERE context ? 'updated_row' ORDER BY id;

-- The seals hold, before and after the next.
RESET SESSION AUTHORIZATION;
SELECT seal, log_id, problem FROM architect.audit_verify_seals();
SELECT architect.audit_seal();
SELECT seal, log_id, problem FROM architect.audit_verify_seals();
-- Erased after it was sealed again, and once more.
SELECT architect.audit_erase('parted', '["1", "z"]', '{secret}'), architect.audit_erase('person', '1', '{born}'),
       architect.audit_erase('person', '2', '{name,email}'), architect.audit_erase('slow', '2', '{email,fax}');
SELECT context FROM architect.audit_log WHERE record_id = '2' AND context ? 'updated_row';
SELECT seal, log_id, problem FROM architect.audit_verify_seals();

-- Nothing that is kept tells the value: neither the salt of the record nor that of an earlier erasure is there.
SELECT record.log_id, record.flags, record.salt = decode(repeat('00', 16), 'hex') AS forgotten
FROM architect.audit_seal_rows, architect._audit_seal_records(data) AS record
WHERE record.flags <> 0 ORDER BY record.log_id;
SELECT log_id, row_number() OVER (PARTITION BY log_id ORDER BY erase_id DESC) AS place, salt IS NULL AS forgotten
FROM architect.audit_seal_erasures ORDER BY log_id, erase_id;
-- Whoever knew the value, and guesses it, finds no hash that fits.
SELECT count(*) AS guessed
FROM architect.audit_log AS log
CROSS JOIN (SELECT salt, leaf FROM architect.audit_seal_rows, architect._audit_seal_records(data)
            UNION ALL SELECT salt, leaf FROM architect.audit_seal_erasures) AS kept
CROSS JOIN LATERAL jsonb_populate_record(log, jsonb_build_object('new_values',
    (log.new_values || '{"email": "bob@example.org", "short": "b", "name": "Bob", "doc": {"email": "bob@example.org"}}') - '')) AS guess
WHERE log.id = 2 AND kept.salt IS NOT NULL AND architect._audit_seal_leaf(kept.salt, guess) = kept.leaf;

-- What is done to an erased row, or in the guise of an erasure, is found.
CREATE PROCEDURE attack(statement text) LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    BEGIN
        EXECUTE statement;
        FOR found IN SELECT * FROM architect.audit_verify_seals() LOOP
            RAISE INFO 'seal % row %: %', found.seal, found.log_id, found.problem;
        END LOOP;
        RAISE EXCEPTION 'undo' USING ERRCODE = 'P0099';
    EXCEPTION WHEN SQLSTATE 'P0099' THEN
        NULL;
    END;
END
$$;
CALL attack($$UPDATE architect.audit_log SET changed_by = 'nobody' WHERE id = 1$$);
CALL attack($$UPDATE architect.audit_log SET new_values = new_values || '{"email": "a"}' WHERE id = 1$$);
CALL attack('DELETE FROM architect.audit_log WHERE id = 1');
-- The log row of an erasure: not as it was, not there, sealed already or not.
CALL attack($$UPDATE architect.audit_log SET context = context || '{"columns": []}' WHERE operation = 'ERASE' AND record_id = '7'$$);
CALL attack($$DELETE FROM architect.audit_log WHERE operation = 'ERASE' AND record_id = '7'$$);
CALL attack($$DELETE FROM architect.audit_log WHERE operation = 'ERASE' AND record_id = '2' AND context ->> 'rows' = '2'$$);
-- The new hash: another, none, without its salt, made to fit a row that was changed.
CALL attack($$UPDATE architect.audit_seal_erasures SET leaf = set_byte(leaf, 0, get_byte(leaf, 0) # 1) WHERE log_id = 2$$);
CALL attack('DELETE FROM architect.audit_seal_erasures WHERE log_id = 2');
CALL attack('UPDATE architect.audit_seal_erasures SET salt = NULL WHERE log_id = 2');
CALL attack($$WITH changed AS (UPDATE architect.audit_log SET changed_by = 'nobody' WHERE id = 2 RETURNING *)
              UPDATE architect.audit_seal_erasures SET leaf = architect._audit_seal_leaf(salt, changed) FROM changed WHERE log_id = changed.id AND salt IS NOT NULL$$);
-- The flag taken away; and an erasure of a row that was none.
CALL attack('UPDATE architect.audit_seal_rows SET data = set_byte(data, 16, 0) WHERE seal = 1');
CALL attack($$WITH changed AS (UPDATE architect.audit_log SET changed_by = 'nobody' WHERE id = 7 RETURNING *),
                   faked AS (INSERT INTO architect.audit_seal_erasures SELECT 7, 13, '9', '\x00112233445566778899aabbccddeeff',
                                 architect._audit_seal_leaf('\x00112233445566778899aabbccddeeff', changed) FROM changed)
              UPDATE architect.audit_seal_rows SET data = set_byte(data, 65 + 16, 1) WHERE seal = 2$$);
-- An erasure does not hide what was changed before it.
CALL attack($$UPDATE architect.audit_log SET changed_by = 'nobody' WHERE id IN (9, 12);
              SELECT architect.audit_erase('audit_erase.person', '7', '{doc,name,born}');
              SELECT architect.audit_erase('audit_erase.person', '1', '{cold,name,email,born}')$$);

SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA audit_erase CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_erase_owner, regress_erase_other;
