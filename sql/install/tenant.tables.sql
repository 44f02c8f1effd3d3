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
