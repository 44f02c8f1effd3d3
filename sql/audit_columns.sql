-- Columns of every kind: generated, dropped, added with a default, excluded,
-- masked; and keys that change.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_columns_owner;
CREATE SCHEMA audit_columns AUTHORIZATION regress_columns_owner;
SET SESSION AUTHORIZATION regress_columns_owner;
SET search_path = audit_columns;

-- What the log has got since the last look.
CREATE FUNCTION news()
    RETURNS TABLE (operation text, record_id text, old_values jsonb, new_values jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('test.seen', true), ''), '0');
BEGIN
    PERFORM set_config('test.seen', max(log.id)::text, false) FROM architect.audit_log AS log;
    RETURN QUERY
        SELECT log.operation, log.record_id, log.old_values, log.new_values
        FROM architect.audit_log AS log
        WHERE log.id > seen
        ORDER BY log.id;
END
$$;

-- Generated columns are logged with what they become.
CREATE TABLE item (id integer PRIMARY KEY, a integer, b integer, twice integer GENERATED ALWAYS AS (a * 2) STORED);
SELECT architect.audit_enable('item');
INSERT INTO item (id, a, b) VALUES (1, 1, 1);
UPDATE item SET a = 2;
UPDATE item SET b = 2;
SELECT * FROM news();

-- A dropped column is gone from the log, an added one is there, with its default
-- where the row was written before the column was.
ALTER TABLE item DROP COLUMN b;
ALTER TABLE item ADD COLUMN later text DEFAULT 'not null' NOT NULL, ADD COLUMN n integer;
UPDATE item SET a = 3;
UPDATE item SET later = 'now';
INSERT INTO item (id) VALUES (2);
DELETE FROM item;
SELECT * FROM news();
-- A column that was dropped and added again is one and the same to the log; so is a retyped one.
ALTER TABLE item DROP COLUMN n;
ALTER TABLE item ADD COLUMN n numeric DEFAULT 0.00;
INSERT INTO item (id) VALUES (3);
ALTER TABLE item ALTER COLUMN n TYPE text USING 'n' || n;
UPDATE item SET n = 'x';
ALTER TABLE item RENAME COLUMN n TO m;
UPDATE item SET m = 'y';
SELECT * FROM news();
DROP TABLE item;

-- Excluded columns are never there, and alone no reason for an entry.
CREATE TABLE doc (id integer PRIMARY KEY, title text, body text, seen integer,
                  words integer GENERATED ALWAYS AS (length(body)) STORED);
SELECT architect.audit_enable('doc', exclude => '{seen,words}', capture => 'full');
INSERT INTO doc VALUES (1, 'title', 'body', 1);
UPDATE doc SET seen = 2;
UPDATE doc SET seen = 3, title = 'new title';
DELETE FROM doc;
SELECT * FROM news();
SELECT architect.audit_enable('doc', exclude => '{title,body,seen,words}');
INSERT INTO doc VALUES (2, 'title', 'body', 1);
UPDATE doc SET title = NULL, body = NULL;
UPDATE doc SET id = 3;
SELECT * FROM news();
-- Renamed they stay excluded; dropped they are forgotten.
SELECT architect.audit_enable('doc', exclude => '{seen,title}');
ALTER TABLE doc RENAME COLUMN seen TO viewed;
ALTER TABLE doc DROP COLUMN title;
UPDATE doc SET viewed = 4;
UPDATE doc SET body = 'b';
SELECT * FROM news();
SELECT exclude FROM architect.audit_status;

-- A masked column shows that it changes, and never what it is; a column that is
-- computed from it is masked as well.
SELECT architect.audit_enable('doc', mask => '{body}', truncate => 'rows');
INSERT INTO doc VALUES (4, 'secret'), (5, NULL);
UPDATE doc SET body = 'more secret' WHERE id = 4;
UPDATE doc SET body = 'more secret' WHERE id = 4;
UPDATE doc SET viewed = 1 WHERE id = 4;
UPDATE doc SET body = NULL, viewed = 2 WHERE id = 4;
DELETE FROM doc WHERE id = 5;
TRUNCATE doc;
SELECT * FROM news();
SELECT architect.audit_enable('doc', mask => '{body}', capture => 'full');
INSERT INTO doc VALUES (6, 'secret');
ALTER TABLE doc RENAME COLUMN body TO content;
UPDATE doc SET viewed = 9;
UPDATE doc SET content = 'secret still';
SELECT * FROM news();
SELECT mask FROM architect.audit_status;
SELECT count(*) AS leaks FROM architect.audit_log AS log WHERE log::text LIKE '%secret%';

-- A masked column that becomes part of the key would show there.
CREATE TABLE person (id integer NOT NULL, email text NOT NULL, CONSTRAINT person_id UNIQUE (id));
ALTER TABLE person REPLICA IDENTITY USING INDEX person_id;
SELECT architect.audit_enable('person', mask => '{email}');
ALTER TABLE person ADD PRIMARY KEY (email);
-- fails: the key is masked by now
INSERT INTO person VALUES (1, 'secret@example.com');
ALTER TABLE person DROP CONSTRAINT person_pkey;
INSERT INTO person VALUES (1, 'secret@example.com');
-- A column that is computed from it is no key either.
CREATE TABLE login (email text NOT NULL, folded text GENERATED ALWAYS AS (lower(email)) STORED PRIMARY KEY);
\set VERBOSITY sqlstate
-- fails: the key tells what the mask hides
SELECT architect.audit_enable('login', mask => '{email}');
\set VERBOSITY default
-- A column that takes the place and the name of a masked one is masked.
ALTER TABLE person DROP COLUMN email;
ALTER TABLE person ADD COLUMN email text DEFAULT 'secret@example.com';
UPDATE person SET id = 2;
INSERT INTO person VALUES (3);
SELECT * FROM news();
SELECT count(*) AS leaks FROM architect.audit_log AS log WHERE log::text LIKE '%secret%';

-- A change of the key is logged under the old key, and shows both.
CREATE TABLE pair (a integer, b text, c integer, PRIMARY KEY (a, b) DEFERRABLE);
SELECT architect.audit_enable('pair');
INSERT INTO pair VALUES (1, 'x', 1), (2, 'x', 1);
UPDATE pair SET a = 3 WHERE a = 1;
UPDATE pair SET a = 4, b = 'y', c = 2 WHERE a = 3;
SELECT architect.audit_enable('pair', capture => 'keys');
UPDATE pair SET a = 5, c = 3 WHERE a = 4;
UPDATE pair SET c = 4 WHERE a = 5;
SELECT architect.audit_enable('pair', capture => 'full');
UPDATE pair SET b = 'z' WHERE a = 5;
SELECT * FROM news();
-- Two rows that swap their keys in one statement, which a deferrable key allows.
SELECT architect.audit_enable('pair');
UPDATE pair SET a = 7 - a, b = CASE b WHEN 'x' THEN 'z' ELSE 'x' END;
SELECT * FROM news() ORDER BY record_id COLLATE "C";
SELECT * FROM pair ORDER BY a;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_columns CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_columns_owner;
