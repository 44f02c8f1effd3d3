-- tenant: who the tenant is now.

CREATE OR REPLACE FUNCTION architect.tenant_set(tenant text)
    RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_set';
COMMENT ON FUNCTION architect.tenant_set(text) IS
'act as a tenant until the end of the transaction
SELECT architect.tenant_set(''acme'');';

CREATE OR REPLACE FUNCTION architect.tenant_set(tenant uuid)
    RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_set_uuid';
COMMENT ON FUNCTION architect.tenant_set(uuid) IS
'act as a tenant until the end of the transaction
SELECT architect.tenant_set(uuid ''5f0c9a4e-2b1d-4c3a-8f6e-7d9b0a1c2e3f'');';

CREATE OR REPLACE FUNCTION architect.tenant_set(tenant bigint)
    RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_set_bigint';
COMMENT ON FUNCTION architect.tenant_set(bigint) IS
'act as a tenant until the end of the transaction
SELECT architect.tenant_set(42);';

CREATE OR REPLACE FUNCTION architect.tenant_clear()
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_clear';
COMMENT ON FUNCTION architect.tenant_clear() IS
'act as no tenant until the end of the transaction
SELECT architect.tenant_clear();';

-- The planner calls this for each call of what follows, and so loads the library.
CREATE OR REPLACE FUNCTION architect._tenant_support(internal)
    RETURNS internal
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_support';
REVOKE ALL ON FUNCTION architect._tenant_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_support(internal) IS
    'planner support of tenant_current, tenant_uuid, tenant_bigint and tenant_text';

CREATE OR REPLACE FUNCTION architect.tenant_current()
    RETURNS text
    LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE
    SUPPORT architect._tenant_support
    AS 'MODULE_PATHNAME', 'architect_tenant_current';
COMMENT ON FUNCTION architect.tenant_current() IS
'the tenant as text, or NULL when none is set
SELECT architect.tenant_current();';

CREATE OR REPLACE FUNCTION architect.tenant_uuid()
    RETURNS uuid
    LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE
    SUPPORT architect._tenant_support
    AS 'MODULE_PATHNAME', 'architect_tenant_uuid';
COMMENT ON FUNCTION architect.tenant_uuid() IS
'the tenant, for policies and defaults of uuid columns
SELECT architect.tenant_uuid();';

CREATE OR REPLACE FUNCTION architect.tenant_bigint()
    RETURNS bigint
    LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE
    SUPPORT architect._tenant_support
    AS 'MODULE_PATHNAME', 'architect_tenant_bigint';
COMMENT ON FUNCTION architect.tenant_bigint() IS
'the tenant, for policies and defaults of bigint and integer columns
SELECT architect.tenant_bigint();';

CREATE OR REPLACE FUNCTION architect.tenant_text()
    RETURNS text
    LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE
    SUPPORT architect._tenant_support
    AS 'MODULE_PATHNAME', 'architect_tenant_text';
COMMENT ON FUNCTION architect.tenant_text() IS
'the tenant, for policies and defaults of text columns
SELECT architect.tenant_text();';
