-- The tenant of a transaction: set, asked for, and gone at its end.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_context_app;
SET SESSION AUTHORIZATION regress_context_app;

-- At the start of a session there is none.
SELECT architect.tenant_current(), architect.tenant_uuid(), architect.tenant_bigint(), architect.tenant_text();

-- Whatever its type, it is given as a literal, a parameter or a value.
BEGIN;
SELECT architect.tenant_set('5F0C9A4E-2b1d-4c3a-8f6e-7d9b0a1c2e3f');
SELECT architect.tenant_current(), architect.tenant_uuid();
COMMIT;
BEGIN;
SELECT architect.tenant_set(uuid '5F0C9A4E-2b1d-4c3a-8f6e-7d9b0a1c2e3f');
SELECT architect.tenant_current(), architect.tenant_uuid(), architect.tenant_text();
COMMIT;
BEGIN;
SELECT architect.tenant_set(42);
SELECT architect.tenant_current(), architect.tenant_bigint(), architect.tenant_text();
COMMIT;
PREPARE become AS SELECT architect.tenant_set($1);
BEGIN;
EXECUTE become('acme');
SELECT architect.tenant_current(), architect.tenant_text();
COMMIT;
DEALLOCATE become;
SELECT architect.tenant_current();
-- A call outside of a transaction holds for its own statement.
SELECT architect.tenant_set('acme'), architect.tenant_text();
SELECT architect.tenant_text();

-- The setting of the common recipe is the same thing.
BEGIN;
SET LOCAL app.tenant_id = '42';
SELECT architect.tenant_current(), architect.tenant_bigint();
SELECT set_config('app.tenant_id', '43', true), architect.tenant_bigint();
SELECT architect.tenant_set(44), current_setting('app.tenant_id');
COMMIT;
SELECT architect.tenant_current(), current_setting('app.tenant_id', true);
SET app.tenant_id = '45';
SELECT architect.tenant_bigint();
BEGIN;
SELECT architect.tenant_set('46');
SELECT architect.tenant_clear();
SELECT architect.tenant_bigint();
COMMIT;
SELECT architect.tenant_bigint();
RESET app.tenant_id;
SELECT architect.tenant_bigint();

-- An empty string is no tenant, and neither is set by mistake.
SET app.tenant_id = '';
SELECT architect.tenant_current(), architect.tenant_uuid(), architect.tenant_bigint(), architect.tenant_text();
RESET app.tenant_id;
-- fails: empty
SELECT architect.tenant_set('');
\echo :LAST_ERROR_SQLSTATE
-- fails: NULL
SELECT architect.tenant_set(NULL);
\echo :LAST_ERROR_SQLSTATE
-- fails: NULL of any type
SELECT architect.tenant_set(NULL::uuid);
-- fails: NULL of any type
SELECT architect.tenant_set(NULL::bigint);

-- What is not of the type is an error that says where it came from; as text it is fine.
BEGIN;
SET LOCAL app.tenant_id = 'acme';
SELECT architect.tenant_current(), architect.tenant_text();
SAVEPOINT a;
-- fails: no uuid
SELECT architect.tenant_uuid();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
-- fails: no number
SELECT architect.tenant_bigint();
ROLLBACK TO a;
SET LOCAL app.tenant_id = '99999999999999999999';
-- fails: too large
SELECT architect.tenant_bigint();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
-- fails: still no uuid, asked again
SELECT architect.tenant_uuid();
ROLLBACK;

-- No tenant is an error where that is asked for.
SET architect.tenant_unset = error;
-- fails: none is set
SELECT architect.tenant_uuid();
\echo :LAST_ERROR_SQLSTATE
-- fails: none is set
SELECT architect.tenant_text();
SELECT architect.tenant_current();
BEGIN;
SELECT architect.tenant_set('acme'), architect.tenant_text();
SELECT architect.tenant_clear();
-- fails: none any more
SELECT architect.tenant_text();
ROLLBACK;
-- fails: one or the other
SET architect.tenant_unset = show;
RESET architect.tenant_unset;

-- A transaction has one tenant; the same twice is no change.
BEGIN;
SELECT architect.tenant_set('acme');
SELECT architect.tenant_set('acme');
SAVEPOINT a;
-- fails: another
SELECT architect.tenant_set('umbrella');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT architect.tenant_clear();
SELECT architect.tenant_current();
SAVEPOINT b;
-- fails: another, cleared in between or not
SELECT architect.tenant_set('umbrella');
ROLLBACK TO b;
SELECT architect.tenant_set('acme');
-- One who wants several says so.
SET LOCAL architect.tenant_switch = on;
SELECT architect.tenant_set('umbrella');
SET LOCAL architect.tenant_switch = off;
-- fails: and only as long as he does
SELECT architect.tenant_set('acme');
ROLLBACK;
-- The next transaction is free.
BEGIN;
SELECT architect.tenant_set('umbrella');
ROLLBACK;
SELECT architect.tenant_current();

-- A savepoint takes tenant and pin back, one that is released keeps them.
BEGIN;
SAVEPOINT a;
SELECT architect.tenant_set('acme');
ROLLBACK TO a;
SELECT architect.tenant_current();
SELECT architect.tenant_set('umbrella');
SAVEPOINT b;
SELECT architect.tenant_clear();
SELECT architect.tenant_current();
ROLLBACK TO b;
SELECT architect.tenant_current();
RELEASE a;
SELECT architect.tenant_current();
-- fails: pinned in the savepoint that was released
SELECT architect.tenant_set('acme');
ROLLBACK;
BEGIN;
DO $$
BEGIN
    PERFORM architect.tenant_set('undone');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    NULL;
END
$$;
SELECT architect.tenant_current();
SAVEPOINT a;
SAVEPOINT b;
SELECT architect.tenant_set('acme');
RELEASE b;
ROLLBACK TO a;
SELECT architect.tenant_set('umbrella');
COMMIT;

-- A procedure that commits begins with none again.
DO $$
BEGIN
    PERFORM architect.tenant_set('acme');
    COMMIT;
    RAISE NOTICE 'after COMMIT: %', architect.tenant_current();
    PERFORM architect.tenant_set('umbrella');
    RAISE NOTICE 'then: %', architect.tenant_current();
    ROLLBACK;
    RAISE NOTICE 'after ROLLBACK: %', architect.tenant_current();
END
$$;
SELECT architect.tenant_set('acme')\; COMMIT\; SELECT architect.tenant_current();

-- A function keeps to the tenant that is set while it runs, and what it sets stays.
CREATE FUNCTION pg_temp.pinned() RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT architect.tenant_set('acme') $$;
CREATE FUNCTION pg_temp.local() RETURNS text LANGUAGE sql SET app.tenant_id = 'inside' AS $$ SELECT architect.tenant_text() $$;
CREATE FUNCTION pg_temp.local_set() RETURNS text LANGUAGE sql SET app.tenant_id = 'inside'
AS $$ SELECT architect.tenant_set('umbrella') $$;
BEGIN;
SELECT pg_temp.pinned();
SELECT architect.tenant_current();
SELECT pg_temp.local(), architect.tenant_text();
SELECT architect.tenant_text();
-- fails: pinned
SELECT pg_temp.local_set();
ROLLBACK;

-- Within one query each call tells what holds at its time, and keeps what it told.
BEGIN;
SET LOCAL app.tenant_id = 'one';
SELECT architect.tenant_text() AS before, set_config('app.tenant_id', 'two', true), architect.tenant_text() AS after;
SELECT array_agg(tenant) AS in_turn
FROM (SELECT architect.tenant_text() || set_config('app.tenant_id', turn::text, true) AS tenant
      FROM generate_series(1, 3) AS turn OFFSET 0) AS asked;
COMMIT;

DROP FUNCTION pg_temp.pinned(), pg_temp.local(), pg_temp.local_set();
RESET SESSION AUTHORIZATION;
DROP EXTENSION pg_architect;
DROP ROLE regress_context_app;
