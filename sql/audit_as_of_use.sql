-- audit_as_of is a table like others in a query, sees what its transaction has changed,
-- says what is wrong with its arguments, and is for the owner of the table only.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_use_owner;
CREATE ROLE regress_use_member IN ROLE regress_use_owner;
CREATE ROLE regress_use_other;
CREATE SCHEMA audit_use AUTHORIZATION regress_use_owner;
GRANT USAGE ON SCHEMA audit_use TO regress_use_other;
SET SESSION AUTHORIZATION regress_use_owner;
SET search_path = audit_use;

CREATE FUNCTION mark(name text) RETURNS void LANGUAGE sql AS $$ SELECT architect.audit_mark(name) $$;

CREATE TABLE item (id integer PRIMARY KEY, name text, price integer);
CREATE TABLE sale (id integer PRIMARY KEY, item integer, n integer);
SELECT architect.audit_enable('item'), architect.audit_enable('sale');
INSERT INTO item VALUES (1, 'mug', 5), (2, 'cup', 6), (3, 'pot', 7);
INSERT INTO sale VALUES (1, 1, 10), (2, 1, 20), (3, 3, 30);
SELECT clock_timestamp() AS before \gset
SELECT mark('before');
UPDATE item SET price = price * 10 WHERE id < 3;
DELETE FROM item WHERE id = 3;
SELECT mark('between');
UPDATE sale SET n = n + 1, item = 2 WHERE id = 1;
INSERT INTO item VALUES (4, 'jug', 8);

-- Joined, twice, with others, with aggregates, in a subquery, as a value, and not to its end.
SELECT sale.id, item.name, sale.n * item.price AS total
FROM architect.audit_as_of(NULL::sale, mark => 'before') AS sale
JOIN architect.audit_as_of(NULL::item, mark => 'before') AS item ON item.id = sale.item
ORDER BY sale.id;
SELECT coalesce(was.id, now.id) AS id, was.price AS was, now.price AS now
FROM architect.audit_as_of(NULL::item, at => :'before') AS was
FULL JOIN architect.audit_as_of(NULL::item, at => 'infinity') AS now ON now.id = was.id
WHERE was IS DISTINCT FROM now
ORDER BY 1;
SELECT mark.name, count(*), sum(past.price)
FROM architect.audit_marks AS mark
CROSS JOIN LATERAL architect.audit_as_of(NULL::item, mark => mark.name) AS past
GROUP BY mark.name
ORDER BY mark.name;
SELECT id FROM item WHERE id NOT IN (SELECT id FROM architect.audit_as_of(NULL::item, mark => 'before'));
SELECT architect.audit_as_of(NULL::item, mark => 'before') AS item ORDER BY item;
SELECT (SELECT past.price FROM architect.audit_as_of(present, mark => 'before') AS past WHERE past.id = present.id)
FROM item AS present ORDER BY present.id;
SELECT count(*) FROM (SELECT FROM architect.audit_as_of(NULL::item, mark => 'before') LIMIT 2) AS two;
SELECT (SELECT sum(price) FROM architect.audit_as_of(NULL::item, mark => mark.name)) AS sum FROM architect.audit_marks AS mark ORDER BY 1;
WITH twice AS MATERIALIZED (SELECT * FROM architect.audit_as_of(NULL::item, mark => 'before'))
SELECT id FROM twice UNION ALL SELECT id FROM twice ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::item, mark => 'between') WITH ORDINALITY AS past (a, b, c, n) WHERE n = 1;
SELECT past FROM ROWS FROM (architect.audit_as_of(NULL::item, mark => 'between'), generate_series(1, 3)) AS past;
SELECT item.id FROM item JOIN architect.audit_as_of(NULL::item, mark => 'before') AS past USING (id) ORDER BY id FOR UPDATE;
-- What is gone can be put back by hand.
BEGIN;
INSERT INTO item SELECT * FROM architect.audit_as_of(NULL::item, mark => 'before') ON CONFLICT (id) DO UPDATE SET price = excluded.price;
SELECT * FROM item ORDER BY id;
ROLLBACK;

-- In a view, in functions, and in a plan that is kept, a new column of the table changes nothing.
CREATE VIEW past AS SELECT id, price FROM architect.audit_as_of(NULL::item, mark => 'before');
CREATE FUNCTION dear(lowest integer) RETURNS SETOF integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT price FROM architect.audit_as_of(NULL::item, mark => 'before') WHERE price >= lowest;
END
$$;
CREATE FUNCTION plain(mark text) RETURNS SETOF item LANGUAGE sql STABLE
    AS 'SELECT * FROM architect.audit_as_of(NULL::item, mark => plain.mark)';
PREPARE kept AS SELECT id, price FROM architect.audit_as_of(NULL::item, mark => $1);
SELECT (SELECT sum(price) FROM past) AS past, (SELECT sum(dear) FROM dear(6)) AS dear, (SELECT sum(price) FROM plain('before')) AS plain;
EXECUTE kept('before');
ALTER TABLE item ADD COLUMN more text;
EXECUTE kept('before');
SELECT (SELECT sum(price) FROM past) AS past, (SELECT sum(dear) FROM dear(6)) AS dear, (SELECT sum(price) FROM plain('before')) AS plain;
-- A cursor keeps what it found, after the transaction too.
BEGIN;
DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT id, name FROM architect.audit_as_of(NULL::item, mark => 'between') ORDER BY id;
FETCH held;
COMMIT;
UPDATE item SET name = upper(name);
FETCH ALL held;
FETCH FIRST held;
CLOSE held;
-- fails: a cursor that is open has the table in use
BEGIN;
DECLARE open CURSOR FOR SELECT id, name FROM architect.audit_as_of(NULL::item, mark => 'between');
FETCH open;
ALTER TABLE item ADD COLUMN again text;
ROLLBACK;

-- What the transaction itself has changed came after, for a time and for a mark, and what it took back never came.
SELECT mark('own');
BEGIN;
UPDATE sale SET n = 0 WHERE id = 1;
SAVEPOINT one;
DELETE FROM sale;
SELECT count(*) FROM architect.audit_as_of(NULL::sale, mark => 'own');
ROLLBACK TO one;
INSERT INTO sale VALUES (9, 1, 9);
SAVEPOINT two;
UPDATE sale SET id = 90 WHERE id = 9;
RELEASE two;
SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'own') EXCEPT SELECT * FROM architect.audit_as_of(NULL::sale, at => now());
SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'own') ORDER BY id;
SELECT * FROM architect.audit_as_of(NULL::sale, at => 'infinity') ORDER BY id;
SELECT * FROM architect.audit_verify('sale');
COMMIT;
-- In a function, and in a subtransaction, between changes.
DO $$
DECLARE
    seen bigint[];
BEGIN
    UPDATE sale SET n = -1;
    seen := array[(SELECT sum(n) FROM architect.audit_as_of(NULL::sale, mark => 'own'))];
    BEGIN
        DELETE FROM sale;
        seen := seen || (SELECT sum(n) FROM architect.audit_as_of(NULL::sale, mark => 'own'));
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        seen := seen || (SELECT sum(n) FROM architect.audit_as_of(NULL::sale, mark => 'own'));
    END;
    RAISE NOTICE 'sums % % %', seen[1], seen[2], seen[3];
END
$$;
SELECT sum(n) FROM architect.audit_as_of(NULL::sale, mark => 'own');
-- A loop that changes the table as it goes sees what was.
DO $$
DECLARE
    past record;
BEGIN
    FOR past IN SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'own') ORDER BY id LOOP
        UPDATE sale SET n = n + 1000;
        COMMIT;
        RAISE NOTICE '%', past;
    END LOOP;
    FOR past IN SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'own') LOOP
        DELETE FROM sale;
        EXIT;
    END LOOP;
END
$$;
SELECT sum(n) FROM architect.audit_as_of(NULL::sale, mark => 'own');

-- fails: a mark after a change is neither before nor after it
BEGIN;
INSERT INTO sale VALUES (10, 1, 1);
SELECT architect.audit_mark('late');
ROLLBACK;
-- fails: the name is taken
SELECT architect.audit_mark('own');
-- A mark that is taken back never was.
BEGIN;
SELECT mark('never');
ROLLBACK;
-- fails: no such mark
SELECT * FROM architect.audit_as_of(NULL::sale, mark => 'never');
SELECT architect.audit_unmark('own');
-- fails: no such mark
SELECT architect.audit_unmark('own');
-- fails: neither a time nor a mark, and both
SELECT * FROM architect.audit_as_of(NULL::sale);
SELECT * FROM architect.audit_as_of(NULL::sale, now(), 'before');
-- fails: no row type, no table, no ordinary one, and one that is not audited
SELECT * FROM architect.audit_as_of(1, now());
SELECT * FROM architect.audit_as_of(ROW (1), now()) AS (id integer);
CREATE TYPE loose AS (id integer);
SELECT * FROM architect.audit_as_of(NULL::loose, now());
SELECT * FROM architect.audit_as_of(NULL::past, now());
SELECT * FROM architect.audit_as_of(NULL::architect.audit_log, now());
CREATE TABLE strange (id integer PRIMARY KEY);
SELECT * FROM architect.audit_as_of(NULL::strange, now());

-- The owner alone; a view lends no rights, a function of the owner does.
CREATE FUNCTION lent() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    RETURN (SELECT count(*) FROM architect.audit_as_of(NULL::item, mark => 'before'));
GRANT ALL ON past, item, sale TO regress_use_other;
SET SESSION AUTHORIZATION regress_use_member;
SELECT count(*) FROM architect.audit_as_of(NULL::item, mark => 'before');
SET SESSION AUTHORIZATION regress_use_other;
-- fails: not the owner
SELECT * FROM architect.audit_as_of(NULL::item, mark => 'before');
SELECT * FROM past;
SELECT architect.audit_unmark('before');
SELECT lent();
SET SESSION AUTHORIZATION regress_use_owner;
-- Row-level security that does not apply to the owner does not matter.
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
SELECT count(*) FROM architect.audit_as_of(NULL::item, mark => 'before');
ALTER TABLE item FORCE ROW LEVEL SECURITY;
-- fails: now it applies
SELECT * FROM architect.audit_as_of(NULL::item, mark => 'before');
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM architect.audit_as_of(NULL::audit_use.item, mark => 'before');
SELECT architect.audit_unmark('before');

SET client_min_messages = warning;
DROP SCHEMA audit_use CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_use_owner, regress_use_member, regress_use_other;
