-- CALL architect.backfill: the rows of a table are changed in small commits, and the job
-- ends when none is left.

CREATE EXTENSION pg_architect;
CREATE SCHEMA backfill_call;
SET search_path = backfill_call;
SET client_min_messages = warning;
CREATE ROLE regress_backfill_owner;
GRANT ALL ON SCHEMA backfill_call TO regress_backfill_owner;
RESET client_min_messages;
SET ROLE regress_backfill_owner;

CREATE TABLE accounts (
    id integer PRIMARY KEY,
    total numeric,
    note text NOT NULL,
    total_cents bigint
);
CREATE INDEX ON accounts (note);
INSERT INTO accounts SELECT i, i * 1.5, 'note ' || i FROM generate_series(1, 5000) AS i;

-- A limit that the role cannot see is left out, and that is said.
CALL architect.backfill('accounts', set => 'total_cents = (total * 100)::bigint', filter => 'total_cents IS NULL');
SELECT count(*), count(*) FILTER (WHERE total_cents = id * 150) FROM accounts;

SET client_min_messages = warning;

-- Asked again, there is nothing to do.
CREATE TEMP TABLE before AS SELECT id, ctid AS place FROM accounts;
CALL architect.backfill('accounts', set => 'total_cents = (total * 100)::bigint', filter => 'total_cents IS NULL');
SELECT count(*) AS moved FROM accounts JOIN before USING (id) WHERE accounts.ctid <> before.place;

-- Without a filter, rows that would not change are not touched.
UPDATE accounts SET note = 'other' WHERE id = 7;
DROP TABLE before;
CREATE TEMP TABLE before AS SELECT id, ctid AS place FROM accounts;
CALL architect.backfill('accounts', set => 'note = ''note '' || id');
SELECT id, note FROM accounts JOIN before USING (id) WHERE accounts.ctid <> before.place;

-- What is not repeatable is done in key order, once for each row.
CALL architect.backfill('accounts', set => 'total_cents = total_cents + 1');
SELECT count(*) FROM accounts WHERE total_cents = id * 150 + 1;
CALL architect.backfill('accounts', set => 'total_cents = total_cents + 1', filter => 'id % 2 = 0');
SELECT id % 2 AS odd, count(*) FROM accounts WHERE total_cents = id * 150 + 2 - id % 2 GROUP BY 1 ORDER BY 1;

-- A filter that the assignment leaves true: rows are changed once, and the job ends.
CALL architect.backfill('accounts', set => 'note = ''even''', filter => 'id % 2 = 0');
SELECT note = 'even' AS even, count(*) FROM accounts GROUP BY 1 ORDER BY 1;

-- Rows that match the filter, and that the assignment leaves as they are, are no reason to go on.
INSERT INTO accounts VALUES (5001, NULL, 'no total');
CALL architect.backfill('accounts', set => 'total_cents = (total * 100)::bigint', filter => 'total_cents IS NULL');
SELECT detail FROM architect.backfill_events ORDER BY at DESC LIMIT 1;

-- A row that a trigger leaves as it is, is reported; the job ends all the same.
CREATE FUNCTION keep_7() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.id = 7 THEN
        RETURN NULL;
    END IF;
    new.note := new.note || ' in ' || (current_setting('architect.backfill_job') <> '');
    RETURN new;
END
$$;
CREATE TRIGGER keep_7 BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION keep_7();
CALL architect.backfill('accounts', set => 'total_cents = 0', filter => 'id < 10 AND total_cents <> 0');
SELECT id, note, total_cents FROM accounts WHERE id < 10 ORDER BY id;
SELECT current_setting('architect.backfill_job') AS afterwards;
DROP TRIGGER keep_7 ON accounts;

-- No transaction block, no function: refused before anything is done.
BEGIN;
-- fails: no COMMIT possible
CALL architect.backfill('accounts', set => 'total_cents = 1', filter => 'total_cents = 0');
ROLLBACK;
CREATE FUNCTION in_function() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CALL architect.backfill('accounts', set => 'total_cents = 1', filter => 'total_cents = 0');
END
$$;
-- fails: no COMMIT possible
SELECT in_function();
SELECT count(*) FROM architect.backfill_jobs WHERE assignment = 'total_cents = 1';

-- In a block that can commit it works.
DO $$
BEGIN
    CALL architect.backfill('accounts', set => 'total_cents = 1', filter => 'total_cents = 0');
END
$$;
SELECT count(*) FROM accounts WHERE total_cents = 1;

-- Tables without a key, without rows, and unlogged ones.
CREATE UNLOGGED TABLE bare (a integer, b integer);
CALL architect.backfill('bare', set => 'b = a');
INSERT INTO bare SELECT i FROM generate_series(1, 1000) AS i;
CALL architect.backfill('bare', set => 'b = a');
SELECT count(*) FROM bare WHERE a = b;
-- fails: no key to do each row once by
CALL architect.backfill('bare', set => 'a = a + 1');

SELECT walk, count(*) FROM architect.backfill_jobs WHERE state = 'done' GROUP BY 1 ORDER BY 1;

RESET ROLE;
SELECT state, count(*) FROM architect.backfill_jobs WHERE owner::text = 'regress_backfill_owner' GROUP BY 1;
SET client_min_messages = warning;
DROP SCHEMA backfill_call CASCADE;
DROP EXTENSION pg_architect;
DROP OWNED BY regress_backfill_owner;
DROP ROLE regress_backfill_owner;
