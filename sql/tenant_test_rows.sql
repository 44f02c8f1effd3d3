-- Where tenant_test takes its rows from, and what it says where it has none.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_rows_owner;
CREATE ROLE regress_rows_app;
CREATE ROLE regress_rows_stranger;
GRANT regress_rows_app TO regress_rows_owner;
CREATE SCHEMA tenant_test_rows AUTHORIZATION regress_rows_owner;
GRANT USAGE ON SCHEMA tenant_test_rows TO regress_rows_app;
SET SESSION AUTHORIZATION regress_rows_owner;

CREATE FUNCTION tenant_test_rows.protect(target regclass, tenant text DEFAULT 'integer') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY own ON %s USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::%s)',
                   target, tenant);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO regress_rows_app', target);
END $$;
CREATE FUNCTION tenant_test_rows.outcome(target regclass, own text DEFAULT NULL, other text DEFAULT NULL, sample jsonb DEFAULT NULL,
    triggers boolean DEFAULT true)
RETURNS TABLE (via regclass, ok boolean, trials bigint, seen text, detail text) LANGUAGE sql AS $$
    SELECT via, ok, count(*), CASE WHEN NOT ok THEN seen END, min(detail) FILTER (WHERE NOT ok OR command = 'SELECT' AND tenant = 'other')
    FROM architect.tenant_test(target, 'regress_rows_app', own, other, sample => sample, triggers => triggers)
    WHERE command NOT LIKE 'MERGE%'
    GROUP BY 1, 2, 4 ORDER BY 1, 2, 4
$$;

-- An empty table: a row is made of defaults and of what has to be there.
CREATE TYPE tenant_test_rows.state AS ENUM ('new', 'old');
CREATE DOMAIN tenant_test_rows.code AS text CHECK (value <> '');
CREATE TABLE tenant_test_rows.empty (
    tenant_id integer NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial,
    a uuid NOT NULL, b text NOT NULL, c numeric(4, 1) NOT NULL, d date NOT NULL, e timestamptz NOT NULL, f interval NOT NULL,
    g boolean NOT NULL, h jsonb NOT NULL, i bytea NOT NULL, j integer[] NOT NULL, k inet NOT NULL, l int4range NOT NULL,
    m tenant_test_rows.state NOT NULL, n tenant_test_rows.code NOT NULL, o char(3) NOT NULL, p varbit(3) NOT NULL,
    q integer DEFAULT 7 NOT NULL CHECK (q = 7), r integer, s integer GENERATED ALWAYS AS (q + 1) STORED, t time NOT NULL);
SELECT tenant_test_rows.protect('tenant_test_rows.empty');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.empty');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.empty', '17', '18');
SELECT count(*) AS rows, (SELECT last_value FROM tenant_test_rows.empty_id_seq) AS id, (SELECT is_called FROM tenant_test_rows.empty_number_seq)
FROM tenant_test_rows.empty;
-- One that cannot be made is no pass: every trial says so, and what is against it.
CREATE TABLE tenant_test_rows.picky (tenant_id integer NOT NULL, a text NOT NULL CHECK (a ~ '^x'), b point NOT NULL);
SELECT tenant_test_rows.protect('tenant_test_rows.picky');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.picky');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.picky', sample => '{"a": "xyz", "b": "(1,2)"}');

-- One tenant has rows: the other is made up.  No tenant has: the rows are nobody's.
CREATE TABLE tenant_test_rows.single (tenant_id uuid, id integer PRIMARY KEY);
INSERT INTO tenant_test_rows.single VALUES (NULL, 1);
SELECT tenant_test_rows.protect('tenant_test_rows.single', 'uuid');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.single', sample => '{"id": 2}');
ALTER TABLE tenant_test_rows.single NO FORCE ROW LEVEL SECURITY;
INSERT INTO tenant_test_rows.single VALUES ('11111111-1111-4111-8111-111111111111', 3);
ALTER TABLE tenant_test_rows.single FORCE ROW LEVEL SECURITY;
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.single');
-- The caller names them, as the type writes them or otherwise.
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.single', '{ABCDEF00-1111-4111-8111-111111111111}', '11111111-1111-4111-8111-111111111111');
-- fails: they are one
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.single', 'regress_rows_app',
    'abcdef00-1111-4111-8111-111111111111', '{ABCDEF00-1111-4111-8111-111111111111}');
-- fails: not of that type
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.single', 'regress_rows_app', 'one');

-- Partitions: each is tried by itself, with a row of its own, whatever splits them.
CREATE TABLE tenant_test_rows.tree (tenant_id integer NOT NULL, day date NOT NULL, id integer, PRIMARY KEY (tenant_id, day, id))
    PARTITION BY RANGE (day);
CREATE TABLE tenant_test_rows.tree_1 PARTITION OF tenant_test_rows.tree FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE tenant_test_rows.tree_2 PARTITION OF tenant_test_rows.tree FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
    PARTITION BY LIST (tenant_id);
CREATE TABLE tenant_test_rows.tree_2_5 PARTITION OF tenant_test_rows.tree_2 FOR VALUES IN (5);
CREATE TABLE tenant_test_rows.tree_2_6 PARTITION OF tenant_test_rows.tree_2 FOR VALUES IN (6, 7) PARTITION BY HASH (id);
CREATE TABLE tenant_test_rows.tree_2_6_0 PARTITION OF tenant_test_rows.tree_2_6 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE tenant_test_rows.tree_2_6_1 PARTITION OF tenant_test_rows.tree_2_6 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE tenant_test_rows.tree_3 PARTITION OF tenant_test_rows.tree DEFAULT;
INSERT INTO tenant_test_rows.tree VALUES (5, '2026-01-05', 1), (6, '2026-01-05', 1);
SELECT tenant_test_rows.protect(relid) FROM pg_partition_tree('tenant_test_rows.tree');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.tree');
-- One of them without protection.
ALTER TABLE tenant_test_rows.tree_2_6_1 DISABLE ROW LEVEL SECURITY;
SELECT via, tenant, seen, string_agg(command, ', ' ORDER BY command) FROM architect.tenant_test('tenant_test_rows.tree', 'regress_rows_app')
WHERE seen = 'allowed' AND NOT ok GROUP BY via, tenant, seen ORDER BY tenant;
-- It is as good as closed while the role may not name it.
REVOKE ALL ON tenant_test_rows.tree_2_6_1 FROM regress_rows_app;
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.tree', 'regress_rows_app') WHERE seen = 'allowed' AND NOT ok;
-- Children by inheritance.
CREATE TABLE tenant_test_rows.parent (tenant_id integer, id integer PRIMARY KEY);
CREATE TABLE tenant_test_rows.child (more text) INHERITS (tenant_test_rows.parent);
SELECT tenant_test_rows.protect('tenant_test_rows.parent');
INSERT INTO tenant_test_rows.child VALUES (1, 1), (2, 2);
GRANT SELECT ON tenant_test_rows.child TO regress_rows_app;
SELECT via, command, tenant, seen, ok FROM architect.tenant_test('tenant_test_rows.parent', 'regress_rows_app') WHERE NOT ok;

-- What refers to a row, or is referred to by it, does not matter: row security comes first.
CREATE TABLE tenant_test_rows.tenant (tenant_id integer PRIMARY KEY);
CREATE TABLE tenant_test_rows.master (tenant_id integer REFERENCES tenant_test_rows.tenant, id integer, PRIMARY KEY (tenant_id, id));
CREATE TABLE tenant_test_rows.detail (tenant_id integer, id integer, master integer,
    FOREIGN KEY (tenant_id, master) REFERENCES tenant_test_rows.master, PRIMARY KEY (tenant_id, id));
INSERT INTO tenant_test_rows.tenant VALUES (1), (2);
INSERT INTO tenant_test_rows.master VALUES (1, 1), (2, 2);
INSERT INTO tenant_test_rows.detail VALUES (1, 1, 1), (2, 2, 2);
SELECT tenant_test_rows.protect('tenant_test_rows.master'), tenant_test_rows.protect('tenant_test_rows.detail');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.master');
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.detail');

-- Users' triggers fire, as they do for the application, and leave nothing; or are left out.
CREATE TABLE tenant_test_rows.noted (what text);
GRANT INSERT ON tenant_test_rows.noted TO regress_rows_app;
CREATE FUNCTION tenant_test_rows.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenant_test_rows.noted VALUES (TG_OP);
    IF current_user <> 'regress_rows_app' THEN RAISE WARNING 'fired as %', current_user; END IF;
    IF TG_OP = 'DELETE' THEN RAISE EXCEPTION 'rows stay for ever'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON tenant_test_rows.detail FOR EACH ROW EXECUTE FUNCTION tenant_test_rows.note();
SELECT command, tenant, seen, ok, detail FROM architect.tenant_test('tenant_test_rows.detail', 'regress_rows_app') WHERE NOT ok;
SELECT command, tenant, seen, ok, detail FROM architect.tenant_test('tenant_test_rows.detail', 'regress_rows_app', triggers => false) WHERE NOT ok;
SELECT count(*) FROM tenant_test_rows.noted;
-- A trigger that makes each row the own tenant's protects as well.
CREATE FUNCTION tenant_test_rows.claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.tenant_id = current_setting('app.tenant_id');
    RETURN NEW;
END $$;
CREATE TRIGGER claim BEFORE INSERT ON tenant_test_rows.master FOR EACH ROW EXECUTE FUNCTION tenant_test_rows.claim();
SELECT command, detail FROM architect.tenant_test('tenant_test_rows.master', 'regress_rows_app') WHERE command = 'INSERT';

-- A domain over a type of which tenants can be made up; and a policy that fails before privileges are looked at.
CREATE DOMAIN tenant_test_rows.number AS numeric;
CREATE TABLE tenant_test_rows.domain (tenant_id tenant_test_rows.number);
ALTER TABLE tenant_test_rows.domain ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenant_test_rows.domain USING (tenant_id = current_setting('app.tenant_id')::numeric);
GRANT SELECT ON tenant_test_rows.domain TO regress_rows_app;
SELECT * FROM tenant_test_rows.outcome('tenant_test_rows.domain');

-- Names that need quotes.
CREATE TABLE tenant_test_rows."Odd ""table""" ("tenant id" varchar(9), "Key" integer PRIMARY KEY, "architect row" text);
INSERT INTO tenant_test_rows."Odd ""table""" VALUES (E'a\tb', 1), (E'\\N', 2);
ALTER TABLE tenant_test_rows."Odd ""table""" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenant_test_rows."Odd ""table""" USING ("tenant id" = current_setting('app.tenant_id', true));
GRANT ALL ON tenant_test_rows."Odd ""table""" TO regress_rows_app;
SELECT command, tenant, seen, detail FROM architect.tenant_test('tenant_test_rows."Odd ""table"""', 'regress_rows_app', tenant_column => 'tenant id')
WHERE NOT ok OR command = 'COPY TO';

-- A whole schema.
SELECT target, count(*) > 0 AS tried FROM architect.tenant_test_schema('tenant_test_rows', 'regress_rows_app') GROUP BY target ORDER BY target;

-- fails: no such column
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.noted', 'regress_rows_app');
-- fails: no such role
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.master', 'regress_rows_nobody');
-- fails: not a role that the session can become
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.master', 'regress_rows_stranger');
-- fails: a view
CREATE VIEW tenant_test_rows.view AS SELECT * FROM tenant_test_rows.master;
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.view', 'regress_rows_app');
-- fails: NULL
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.master', NULL);
-- fails: nothing can be tried where nothing can be written
BEGIN READ ONLY;
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.master', 'regress_rows_app');
ROLLBACK;
RESET SESSION AUTHORIZATION;
-- fails: not the owner
SET SESSION AUTHORIZATION regress_rows_app;
SELECT count(*) FROM architect.tenant_test('tenant_test_rows.master', 'regress_rows_app');
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
DROP SCHEMA tenant_test_rows CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_rows_owner, regress_rows_app, regress_rows_stranger;
