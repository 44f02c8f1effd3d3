-- Findings about the tenant column and about keys that leave it out.

CREATE EXTENSION pg_architect;
SET client_min_messages = warning;
CREATE ROLE regress_find_app;
CREATE SCHEMA find;
GRANT USAGE ON SCHEMA find TO regress_find_app;
CREATE VIEW find.findings AS
    SELECT rule, severity, relation, object, detail, fix FROM architect.tenant_findings
    WHERE relation::text LIKE 'find.%' AND rule NOT IN ('rls_off', 'index_not_leakproof');
CREATE FUNCTION find.close(wanted text, target text) RETURNS text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE rule = wanted AND object = target);
    RETURN CASE WHEN EXISTS (SELECT FROM find.findings WHERE rule = wanted AND object = target)
                THEN 'still open' ELSE 'closed' END;
END
$function$;
-- Tries a statement as the application of tenant 1, and tells how it ends.
CREATE FUNCTION find.try(statement text) RETURNS text LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('app.tenant_id', '1', true), set_config('role', 'regress_find_app', true);
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        PERFORM set_config('role', 'none', true);
        RETURN sqlerrm;
    END;
    PERFORM set_config('role', 'none', true);
    RETURN 'done';
END
$function$;

-- A row without a tenant is seen by nobody.
CREATE TABLE find.doc (tenant_id integer, id integer, email text, PRIMARY KEY (id));
INSERT INTO find.doc VALUES (1, 1, 'one'), (2, 2, 'two'), (NULL, 3, 'nobody');
SELECT architect.tenant_enable('find.doc');
GRANT SELECT, INSERT, UPDATE, DELETE ON find.doc TO regress_find_app;
SELECT rule, severity, object FROM find.findings;
DELETE FROM find.doc WHERE tenant_id IS NULL;
SELECT find.close('tenant_nullable', 'tenant_id'), find.close('no_tenant_index', 'tenant_id');

-- An index for some rows, or that begins with something else, is none; one of a partitioned table is one
-- of its partitions, and a partition by list holds one tenant's rows already.
SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid = 'find.doc'::regclass AND NOT indisprimary \gset
DROP INDEX :index;
CREATE INDEX ON find.doc (email, tenant_id);
CREATE INDEX ON find.doc (tenant_id) WHERE email IS NULL;
SELECT rule, object FROM find.findings;
CREATE INDEX ON find.doc (tenant_id, email);
CREATE TABLE find.year (tenant_id integer NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE find.year_1 PARTITION OF find.year FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE find.year_2 PARTITION OF find.year FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT rule, relation, object FROM find.findings;
CREATE INDEX ON find.year_1 (tenant_id);
SELECT rule, relation FROM find.findings WHERE rule = 'no_tenant_index';
CREATE INDEX ON find.year_2 (tenant_id, at);
SELECT rule, relation FROM find.findings WHERE rule = 'no_tenant_index';
DROP TABLE find.year;
CREATE TABLE find.year (tenant_id integer NOT NULL, at date) PARTITION BY LIST (tenant_id);
CREATE TABLE find.year_1 PARTITION OF find.year FOR VALUES IN (1);
SELECT rule, relation FROM find.findings WHERE rule = 'no_tenant_index';
DROP TABLE find.year;

-- What is unique across tenants tells what others have.
SELECT * FROM find.findings \gx
SELECT find.try($$INSERT INTO find.doc VALUES (1, 2, 'probe')$$);
SELECT find.close('unique_without_tenant', 'doc_pkey');
SELECT find.try($$INSERT INTO find.doc VALUES (1, 2, 'probe')$$);
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'doc_pkey';
CREATE UNIQUE INDEX "odd "" USING btree (" ON find.doc USING btree (lower(email) COLLATE "C" text_pattern_ops DESC)
    INCLUDE (id) NULLS NOT DISTINCT WHERE email <> '';
SELECT rule, object, fix FROM find.findings;
SELECT find.try($$INSERT INTO find.doc VALUES (1, 4, 'TWO')$$);
SELECT find.close('unique_without_tenant', 'odd " USING btree (');
SELECT find.try($$INSERT INTO find.doc VALUES (1, 4, 'TWO')$$);
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'find.doc'::regclass AND indnullsnotdistinct;
ALTER TABLE find.doc ADD CONSTRAINT mail UNIQUE NULLS NOT DISTINCT (email) INCLUDE (id) DEFERRABLE INITIALLY DEFERRED;
SELECT find.close('unique_without_tenant', 'mail');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'mail';
-- Closed: the tenant is in it, by itself or in an expression; hard to guess.
CREATE UNIQUE INDEX ON find.doc (email, tenant_id);
CREATE UNIQUE INDEX ON find.doc ((tenant_id || '/' || email));
CREATE INDEX ON find.doc (email);
SELECT * FROM find.findings;
ALTER TABLE find.doc ADD token uuid DEFAULT gen_random_uuid() UNIQUE;
SELECT rule, severity, object FROM find.findings;
-- So does an exclusion constraint.
CREATE TABLE find.room (tenant_id integer PRIMARY KEY, id integer, EXCLUDE (id WITH =));
SELECT rule, severity, object FROM find.findings WHERE relation = 'find.room'::regclass;
SELECT find.close('unique_without_tenant', 'room_id_excl');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'room_id_excl';
DROP TABLE find.doc, find.room;

-- A foreign key without the tenant links to, tells of, and deletes rows of others.
CREATE TABLE find.doc (tenant_id integer NOT NULL, id integer PRIMARY KEY, "Next" integer REFERENCES find.doc);
CREATE TABLE find.line (tenant_id integer NOT NULL, id integer, doc integer
    REFERENCES find.doc ON UPDATE RESTRICT ON DELETE CASCADE DEFERRABLE, PRIMARY KEY (tenant_id, id));
CREATE TABLE find.mark (tenant_id integer NOT NULL, id integer, doc integer CONSTRAINT "of doc"
    REFERENCES find.doc ON DELETE SET NULL, PRIMARY KEY (tenant_id, id));
CREATE INDEX ON find.doc (tenant_id);
INSERT INTO find.doc VALUES (1, 1), (2, 2);
INSERT INTO find.line VALUES (2, 1, 1), (2, 2, 2);
INSERT INTO find.mark VALUES (2, 1, 1);
SELECT architect.tenant_enable(name) FROM unnest('{find.doc,find.line,find.mark}'::regclass[]) AS name;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA find TO regress_find_app;
SELECT rule, severity, relation, object FROM find.findings;
SELECT detail, fix FROM find.findings WHERE relation = 'find.mark'::regclass ORDER BY rule \gx
SELECT find.try('INSERT INTO find.line VALUES (1, 1, 2)') AS links,
       find.try('INSERT INTO find.line VALUES (1, 2, 3)') AS tells;
SELECT find.try('DELETE FROM find.doc');
SELECT * FROM find.line ORDER BY tenant_id, id;
SELECT * FROM find.mark;
-- The fix of a foreign key makes the key that it needs; that of the key takes its foreign keys along.
DELETE FROM find.line WHERE tenant_id = 1;
SELECT find.close('cascade_across_tenants', 'of doc');
SELECT rule, relation, object FROM find.findings;
SELECT find.close('unique_without_tenant', 'doc_pkey');
SELECT rule, relation, object FROM find.findings;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE confrelid = 'find.doc'::regclass ORDER BY conrelid, conname;
INSERT INTO find.doc VALUES (1, 2);
SELECT find.try('INSERT INTO find.line VALUES (1, 1, 2)') AS links,
       find.try('INSERT INTO find.line VALUES (1, 2, 3)') AS tells;
SELECT find.try('DELETE FROM find.doc');
SELECT * FROM find.line;
-- Closed: to a table that all tenants share, or to the list of tenants.
CREATE TABLE find.country (code text PRIMARY KEY);
CREATE TABLE find.tenant (tenant_id integer PRIMARY KEY);
INSERT INTO find.tenant VALUES (1), (2);
ALTER TABLE find.line ADD country text REFERENCES find.country ON DELETE CASCADE;
ALTER TABLE find.line ADD FOREIGN KEY (tenant_id) REFERENCES find.tenant ON DELETE CASCADE;
SELECT * FROM find.findings;
-- A table without the column can refer by the old key only; then there is no statement that closes it.
CREATE TABLE find.log (doc integer);
ALTER TABLE find.doc ADD CONSTRAINT doc_id UNIQUE (id, "Next");
ALTER TABLE find.log ADD next integer, ADD FOREIGN KEY (doc, next) REFERENCES find.doc (id, "Next");
SELECT rule, object, detail, fix FROM find.findings;

SET client_min_messages = warning;
DROP SCHEMA find CASCADE;
DROP ROLE regress_find_app;
DROP EXTENSION pg_architect;
