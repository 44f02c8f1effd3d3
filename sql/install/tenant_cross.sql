-- tenant: access across tenants.

CREATE OR REPLACE FUNCTION architect._tenant_plan_crossing(internal)
    RETURNS internal
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_plan_crossing';
REVOKE ALL ON FUNCTION architect._tenant_plan_crossing(internal) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_plan_crossing(internal) IS
    'planner support of tenant_crossing: false for a role that may not cross';

CREATE OR REPLACE FUNCTION architect.tenant_crossing()
    RETURNS boolean
    LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE
    SUPPORT architect._tenant_plan_crossing
    AS 'MODULE_PATHNAME', 'architect_tenant_crossing';
COMMENT ON FUNCTION architect.tenant_crossing() IS
'true after tenant_cross, until the end of the transaction; for policies
SELECT architect.tenant_crossing();';

CREATE OR REPLACE FUNCTION architect._tenant_note_crossing(role_name text, reason text, read_only boolean)
    RETURNS integer
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO architect.tenant_crossings (session_role, role_name, reason, read_only)
    VALUES (session_user, $1, $2, $3)
    RETURNING 1
$function$;
REVOKE ALL ON FUNCTION architect._tenant_note_crossing(text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_note_crossing(text, text, boolean) IS
    'keeps who crossed tenants and why';

CREATE OR REPLACE FUNCTION architect.tenant_cross(reason text, read_only boolean DEFAULT true)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_tenant_cross';
REVOKE ALL ON FUNCTION architect.tenant_cross(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect.tenant_cross(text, boolean) IS
'see the rows of all tenants until the end of the transaction; for roles with EXECUTE on it
SELECT architect.tenant_cross(''invoice run of May, ticket 4711'');';
