-- tenant: try every command across tenants.

CREATE OR REPLACE FUNCTION architect.tenant_test(
    target regclass,
    role name,
    own text DEFAULT NULL,
    other text DEFAULT NULL,
    tenant_column name DEFAULT NULL,
    triggers boolean DEFAULT true,
    sample jsonb DEFAULT NULL)
    RETURNS TABLE (
        target regclass,
        via regclass,
        command text,
        tenant text,
        expected text,
        seen text,
        ok boolean,
        detail text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_test';
COMMENT ON FUNCTION architect.tenant_test(regclass, name, text, text, name, boolean, jsonb) IS
'try every command as a role across two tenants, and roll it back; ok is true where it went as it must; for the owner
SELECT * FROM architect.tenant_test(''public.orders'', ''app'') WHERE NOT ok;';

CREATE OR REPLACE FUNCTION architect.tenant_test_schema(
    schema regnamespace,
    role name,
    own text DEFAULT NULL,
    other text DEFAULT NULL,
    tenant_column name DEFAULT NULL,
    triggers boolean DEFAULT true)
    RETURNS TABLE (
        target regclass,
        via regclass,
        command text,
        tenant text,
        expected text,
        seen text,
        ok boolean,
        detail text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_test_schema';
COMMENT ON FUNCTION architect.tenant_test_schema(regnamespace, name, text, text, name, boolean) IS
'tenant_test for every table of a schema that has the tenant column; tells which have none
SELECT * FROM architect.tenant_test_schema(''public'', ''app'') WHERE NOT ok;';
