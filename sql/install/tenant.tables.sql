-- tenant: what is made once.

CREATE TABLE architect.tenant_registry (
    relation regclass NOT NULL,
    column_name name NOT NULL,
    kind text NOT NULL,
    roles name[] NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT now(),
    undo text[] NOT NULL,
    CONSTRAINT tenant_registry_pkey PRIMARY KEY (relation),
    CONSTRAINT tenant_registry_kind_check CHECK (kind IN ('uuid', 'bigint', 'text'))
);
GRANT SELECT ON architect.tenant_registry TO PUBLIC;
COMMENT ON TABLE architect.tenant_registry IS
'tables that tenant_enable protects, each partition and child by itself
SELECT * FROM architect.tenant_registry;';
COMMENT ON COLUMN architect.tenant_registry.column_name IS 'column that says whose row it is';
COMMENT ON COLUMN architect.tenant_registry.kind IS 'which function the policies compare it with: tenant_uuid, …';
COMMENT ON COLUMN architect.tenant_registry.roles IS 'roles that the policies are for';
COMMENT ON COLUMN architect.tenant_registry.undo IS
    'statements, in order, by which tenant_disable takes back what was done';

SELECT pg_extension_config_dump('architect.tenant_registry', '');

-- Not for everybody to read: reasons name customers.
CREATE TABLE architect.tenant_crossings (
    id bigint GENERATED ALWAYS AS IDENTITY,
    crossed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_role text NOT NULL,
    role_name text NOT NULL,
    reason text NOT NULL,
    read_only boolean NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    client_address inet DEFAULT inet_client_addr(),
    CONSTRAINT tenant_crossings_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE architect.tenant_crossings IS
'who saw the rows of all tenants by tenant_cross, and why
SELECT * FROM architect.tenant_crossings ORDER BY id DESC LIMIT 10;';
COMMENT ON COLUMN architect.tenant_crossings.session_role IS 'user of the session';
COMMENT ON COLUMN architect.tenant_crossings.role_name IS 'current role, whose right to cross counted';
COMMENT ON COLUMN architect.tenant_crossings.read_only IS 'the transaction could write no longer';

SELECT pg_extension_config_dump('architect.tenant_crossings', '');
SELECT pg_extension_config_dump('architect.tenant_crossings_id_seq', '');

CREATE TYPE architect._tenant_step AS (
    relation regclass,
    statement text,
    why text,
    lock text,
    undo text,
    transactional boolean,
    inside text,
    rule text
);
COMMENT ON TYPE architect._tenant_step IS
    'a step of a plan; in undo, %1$s stands for the table and %2$I for the tenant column';

CREATE FUNCTION architect._tenant_guard()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_guard';
REVOKE ALL ON FUNCTION architect._tenant_guard() FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_guard() IS
    'refuses to take row-level security from a registered table';

CREATE EVENT TRIGGER architect_tenant_guard
    ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION architect._tenant_guard();
ALTER EVENT TRIGGER architect_tenant_guard ENABLE ALWAYS;

CREATE TABLE architect.tenant_schemas (
    schema_name name NOT NULL,
    column_name name NOT NULL,
    roles name[] NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_schemas_pkey PRIMARY KEY (schema_name)
);
GRANT SELECT ON architect.tenant_schemas TO PUBLIC;
COMMENT ON TABLE architect.tenant_schemas IS
'schemas that tenant_enable_schema was called for; new tables there can be protected when they are made
SELECT * FROM architect.tenant_schemas;';
COMMENT ON COLUMN architect.tenant_schemas.column_name IS 'column that says whose row it is, where a table has it';
COMMENT ON COLUMN architect.tenant_schemas.roles IS 'roles that the policies of new tables are for';

SELECT pg_extension_config_dump('architect.tenant_schemas', '');

CREATE FUNCTION architect._tenant_follow_changes()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_follow_changes';
REVOKE ALL ON FUNCTION architect._tenant_follow_changes() FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_follow_changes() IS
    'protects what comes below a protected table or into an enabled schema, and follows names';

CREATE FUNCTION architect._tenant_follow_drops()
    RETURNS event_trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_follow_drops';
REVOKE ALL ON FUNCTION architect._tenant_follow_drops() FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_follow_drops() IS
    'takes dropped tables from the register';

CREATE EVENT TRIGGER architect_tenant_follow_changes
    ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA',
                 'ALTER TABLE', 'ALTER SCHEMA', 'ALTER TYPE',
                 -- The server lets these rename a column of a table, too.
                 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER INDEX')
    EXECUTE FUNCTION architect._tenant_follow_changes();
CREATE EVENT TRIGGER architect_tenant_follow_drops
    ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP TYPE')
    EXECUTE FUNCTION architect._tenant_follow_drops();
ALTER EVENT TRIGGER architect_tenant_follow_changes ENABLE ALWAYS;
ALTER EVENT TRIGGER architect_tenant_follow_drops ENABLE ALWAYS;
