-- tenant: who the tenant is, proven by a token.

CREATE OR REPLACE FUNCTION architect.tenant_login(token text, tenant text DEFAULT NULL)
    RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_login';
COMMENT ON FUNCTION architect.tenant_login(text, text) IS
'act as the tenant of a token until the end of the transaction; for architect.tenant_trusted
SELECT architect.tenant_login(''v1.…'');';
