-- Queries under the generated policies: planned like a comparison with a constant, and
-- right whatever the plan was made for.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_plans_app;
CREATE SCHEMA tenant_plans;
GRANT USAGE ON SCHEMA tenant_plans TO regress_plans_app;
SET search_path = tenant_plans;

-- Tenant 1 has most of the rows, tenants 2 to 200 some 600 to some 17.
CREATE TABLE event (tenant_id bigint NOT NULL, id integer NOT NULL, code integer);
INSERT INTO event
SELECT CASE WHEN id % 2 = 0 THEN 1 ELSE 1 + floor(200 * power(id / 20000.0, 3)) END, id, id % 100
FROM generate_series(1, 20000) AS id;
CREATE INDEX ON event (tenant_id, id);
CREATE TABLE part (tenant_id bigint NOT NULL, id integer NOT NULL) PARTITION BY LIST (tenant_id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
INSERT INTO part SELECT 1 + id % 2, id FROM generate_series(1, 100) AS id;
ANALYZE event, part;
GRANT ALL ON event, part TO regress_plans_app;
DO $$
DECLARE
    target text;
    kind text;
BEGIN
    FOREACH target IN ARRAY '{event,part}'::text[] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
        FOREACH kind IN ARRAY '{PERMISSIVE,RESTRICTIVE}'::text[] LOOP
            EXECUTE format('CREATE POLICY %I ON %I AS %s
                USING (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing())
                WITH CHECK (tenant_id = architect.tenant_bigint() OR architect.tenant_crossing())',
                lower(kind), target, kind);
        END LOOP;
    END LOOP;
END
$$;

-- How many rows a query is planned for.
CREATE FUNCTION planned(query text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Plan Rows')::integer;
END
$$;
SET ROLE regress_plans_app;

-- The estimate is that of a literal for each tenant, the large, the small and those that are not there.
CREATE TEMP TABLE estimate AS
SELECT tenant, NULL::integer AS with_literal, NULL::integer AS with_policy, 0::bigint AS true_count
FROM generate_series(1, 203) AS tenant;
RESET ROLE;
UPDATE estimate SET with_literal = planned(format('SELECT * FROM event WHERE tenant_id = %s', tenant)),
    true_count = (SELECT count(*) FROM event WHERE tenant_id = tenant);
GRANT ALL ON estimate TO regress_plans_app;
SET ROLE regress_plans_app;
DO $$
DECLARE
    row_of record;
BEGIN
    PERFORM set_config('architect.tenant_switch', 'on', true);
    FOR row_of IN SELECT tenant FROM estimate LOOP
        PERFORM architect.tenant_set(row_of.tenant);
        UPDATE estimate SET with_policy = planned('SELECT * FROM event') WHERE tenant = row_of.tenant;
    END LOOP;
END
$$;
SELECT true_count > 0 AS has_rows, count(*) AS tenants, count(*) FILTER (WHERE with_policy <> with_literal) AS different,
       count(*) FILTER (WHERE greatest(with_policy, true_count)::numeric / least(with_policy, true_count + 1) > 2) AS far_off
FROM estimate GROUP BY 1 ORDER BY 1;

-- The plan has the comparison once, as an index condition too, and none of it for a role that may not cross.
BEGIN;
SELECT architect.tenant_set(150);
EXPLAIN (COSTS OFF) SELECT * FROM event WHERE id = 17000;
COMMIT;

-- In parallel: workers have the tenant, and what changes it between two queries.
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM event WHERE code >= 0;
BEGIN;
SELECT architect.tenant_set(1);
SELECT count(*), min(tenant_id), max(tenant_id) FROM event WHERE code >= 0;
SAVEPOINT a;
SET LOCAL app.tenant_id = '100';
SELECT count(*), min(tenant_id), max(tenant_id) FROM event WHERE code >= 0;
ROLLBACK TO a;
SELECT count(*), min(tenant_id), max(tenant_id) FROM event WHERE code >= 0;
SELECT architect.tenant_clear();
SELECT count(*) FROM event WHERE code >= 0;
ROLLBACK;
SELECT count(*) FROM event WHERE code >= 0;
-- The tenant of the rows that workers see is the one that they are asked for.
BEGIN;
SELECT architect.tenant_set(100);
SELECT count(*) FILTER (WHERE tenant_id = architect.tenant_bigint()) = count(*) AS own,
       min(architect.tenant_current()), count(DISTINCT architect.tenant_text())
FROM event WHERE code >= 0;
COMMIT;
-- fails: no number, in a worker or not
BEGIN;
SET LOCAL app.tenant_id = 'acme';
SELECT count(*) FROM event WHERE code >= 0;
ROLLBACK;
SET architect.tenant_unset = error;
-- fails: none is set
SELECT count(*) FROM event WHERE code >= 0;
RESET architect.tenant_unset;
-- Another setting than by default, named in the session, in which the workers were not told of it.
RESET ROLE;
SET architect.tenant_setting = 'my.tenant';
SET my.tenant = '1';
SET ROLE regress_plans_app;
SELECT count(*), min(tenant_id), max(tenant_id) FROM event WHERE code >= 0;
RESET ROLE;
RESET architect.tenant_setting;

-- The first to ask is a worker, in a session that knew nothing of the library.
\c
SET app.tenant_id = '100';
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT count(DISTINCT architect.tenant_text()), min(architect.tenant_text()), count(architect.tenant_text())
FROM tenant_plans.event WHERE code >= 0;

-- One plan for all: made for one tenant, it is right for the next, and for none.
\c
SET search_path = tenant_plans;
SET plan_cache_mode = force_generic_plan;
PREPARE counted(integer) AS SELECT count(*), min(tenant_id), max(tenant_id) FROM event WHERE code >= $1;
PREPARE parted AS SELECT count(*), min(tenant_id), max(tenant_id) FROM part;
CREATE FUNCTION counted() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM event); END $$;
SET ROLE regress_plans_app;
EXECUTE counted(0);
EXECUTE parted;
BEGIN; SELECT architect.tenant_set(1); EXECUTE counted(0); EXECUTE parted; SELECT counted(); COMMIT;
BEGIN; SELECT architect.tenant_set(2); EXECUTE counted(0); EXECUTE parted; SELECT counted(); COMMIT;
EXECUTE counted(0);
EXECUTE parted;
SELECT counted();
SELECT generic_plans > 0 AS generic, custom_plans FROM pg_prepared_statements WHERE name = 'counted';
-- Partitions are left out when the query starts.
BEGIN;
SELECT architect.tenant_set(2);
EXPLAIN (COSTS OFF) SELECT * FROM part;
COMMIT;

-- A cursor goes on with the tenant of each moment it is read in.
BEGIN;
SELECT architect.tenant_set(2);
DECLARE c CURSOR FOR SELECT tenant_id FROM part;
FETCH 1 FROM c;
SELECT architect.tenant_clear();
FETCH 1 FROM c;
COMMIT;

\c
SET client_min_messages = warning;
DROP SCHEMA tenant_plans CASCADE;
DROP EXTENSION pg_architect;
DROP ROLE regress_plans_app;
