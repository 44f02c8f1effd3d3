-- What the extension says of itself is complete, what it says to call works,
-- and nothing of it is open to the public by accident.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_help_owner LOGIN;
CREATE SCHEMA core_help AUTHORIZATION regress_help_owner;

SET SESSION AUTHORIZATION regress_help_owner;
CREATE TABLE core_help.orders (id integer PRIMARY KEY, tenant_id uuid, updated_at timestamptz,
                               total numeric, total_cents bigint);
SELECT architect.audit_enable('core_help.orders');
RESET SESSION AUTHORIZATION;

\pset format unaligned
SELECT part, name, kind FROM architect.help ORDER BY part COLLATE "C", name COLLATE "C";
\pset format aligned

-- Every public function, procedure, view and table is in the help, with a summary and a call.
SELECT proname AS forgotten
FROM pg_proc
WHERE pronamespace = 'architect'::regnamespace
  AND proname NOT LIKE '\_%'
  AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
  AND proname NOT IN (SELECT name FROM architect.help WHERE kind IN ('function', 'procedure'));
SELECT relname AS forgotten
FROM pg_class
WHERE relnamespace = 'architect'::regnamespace
  AND relname NOT LIKE '\_%'
  AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT relispartition
  AND relname NOT IN (SELECT name FROM architect.help WHERE kind IN ('view', 'table'));
SELECT name AS incomplete
FROM architect.help
WHERE coalesce(summary, '') = '' OR coalesce(call, '') = ''
   OR (kind IN ('function', 'procedure') AND arguments IS NULL);

-- Everything else has a comment too.
SELECT proc.oid::regprocedure AS undocumented
FROM pg_proc AS proc
WHERE pronamespace = 'architect'::regnamespace AND obj_description(proc.oid, 'pg_proc') IS NULL;

-- Each call can be copied as it stands.
SET SESSION AUTHORIZATION regress_help_owner;
SET architect.tenant_switch = on;
SET search_path = core_help;
DO $$
DECLARE
    said record;
BEGIN
    FOR said IN SELECT name, replace(call, 'public.', '') AS call FROM architect.help LOOP
        BEGIN
            PERFORM architect.tenant_clear();
            EXECUTE said.call;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% is not for everybody', said.name;
            WHEN active_sql_transaction THEN
                RAISE NOTICE '% wants a transaction of its own', said.name;
            WHEN undefined_object THEN
                RAISE NOTICE '% finds no such name', said.name;
            WHEN object_not_in_prerequisite_state THEN
                RAISE NOTICE '% wants another setting', said.name;
            WHEN OTHERS THEN
                RAISE WARNING '% fails: %', said.name, SQLERRM;
        END;
    END LOOP;
END
$$;
RESET search_path;
RESET architect.tenant_switch;
RESET SESSION AUTHORIZATION;

-- What was begun in the background comes to its end.
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM architect.backfill_jobs WHERE state IN ('waiting', 'running')) LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;

-- An argument is named in a call, so its name needs no quotes.
SELECT proc.oid::regprocedure AS function, argument
FROM pg_proc AS proc
CROSS JOIN LATERAL unnest(proc.proargnames) AS argument
JOIN pg_get_keywords() AS keyword ON keyword.word = argument
WHERE proc.pronamespace = 'architect'::regnamespace
  AND proc.proname NOT LIKE '\_%'
  AND keyword.catcode IN ('R', 'C');

-- Private functions, and those that run with raised rights, are not for the public, but for
-- those that stand in statements and views which run with the user's rights.
SELECT proc.oid::regprocedure AS open_to_all
FROM pg_proc AS proc
WHERE proc.pronamespace = 'architect'::regnamespace
  AND (proc.proname LIKE '\_%' OR proc.prosecdef)
  AND has_function_privilege('public', proc.oid, 'EXECUTE');

-- All others are, but for what keeps the log.
SELECT proc.oid::regprocedure AS closed
FROM pg_proc AS proc
WHERE proc.pronamespace = 'architect'::regnamespace
  AND NOT (proc.proname LIKE '\_%' OR proc.prosecdef)
  AND NOT has_function_privilege('public', proc.oid, 'EXECUTE');

-- What is not C has a pinned search_path, with the temporary schema last.
SELECT proc.oid::regprocedure AS unpinned
FROM pg_proc AS proc
JOIN pg_language AS language ON language.oid = proc.prolang
WHERE proc.pronamespace = 'architect'::regnamespace
  AND language.lanname <> 'c'
  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proc.proconfig), false);

-- What writes is volatile and not for parallel workers.
SELECT proc.oid::regprocedure AS function, proc.provolatile, proc.proparallel
FROM pg_proc AS proc
WHERE proc.pronamespace = 'architect'::regnamespace
  AND proc.proname ~ '_(enable|disable|set|make|maintain|prepare)(_|$)'
  AND (proc.provolatile <> 'v' OR proc.proparallel <> 'u');

-- The public reads, and writes nothing.
SELECT relname AS writable
FROM pg_class
WHERE relnamespace = 'architect'::regnamespace
  AND (relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege('public', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       OR relkind = 'S' AND has_sequence_privilege('public', oid, 'USAGE, UPDATE'));
SELECT has_schema_privilege('public', 'architect', 'USAGE') AS usage,
       has_schema_privilege('public', 'architect', 'CREATE') AS "create";
-- A partition of the log is read through the log, where rows are filtered.
SELECT count(*) AS readable_partitions
FROM pg_inherits
WHERE inhparent = 'architect.audit_log'::regclass AND has_table_privilege('public', inhrelid, 'SELECT');

-- All of it belongs to the one who made the extension.
SELECT count(*) AS of_others
FROM pg_class
WHERE relnamespace = 'architect'::regnamespace
  AND relowner <> (SELECT extowner FROM pg_extension WHERE extname = 'pg_architect');

SET client_min_messages = warning;
DROP SCHEMA core_help CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_help_owner;
