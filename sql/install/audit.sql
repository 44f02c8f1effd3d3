-- audit: who changed what.

CREATE OR REPLACE FUNCTION architect.audit_capture()
    RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_capture';
COMMENT ON FUNCTION architect.audit_capture() IS
    'row trigger of an audited table; made by audit_enable';

CREATE OR REPLACE FUNCTION architect.audit_truncate()
    RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_truncate';
COMMENT ON FUNCTION architect.audit_truncate() IS
    'TRUNCATE trigger of an audited table; made by audit_enable';

CREATE OR REPLACE FUNCTION architect.audit_enable(
        target regclass,
        capture text DEFAULT 'changes',
        exclude name[] DEFAULT NULL,
        mask name[] DEFAULT NULL,
        condition text DEFAULT NULL,
        key name[] DEFAULT NULL,
        truncate text DEFAULT 'event',
        replica boolean DEFAULT false)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_enable';
COMMENT ON FUNCTION architect.audit_enable(regclass, text, name[], name[], text, name[], text, boolean) IS
'record every change of a table in architect.audit_log; for the table''s owner
SELECT architect.audit_enable(''public.orders'', exclude => ''{updated_at}'');';

CREATE OR REPLACE FUNCTION architect.audit_disable(target regclass)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_disable';
COMMENT ON FUNCTION architect.audit_disable(regclass) IS
'stop recording changes of a table; what is in the log stays
SELECT architect.audit_disable(''public.orders'');';

CREATE OR REPLACE FUNCTION architect.audit_set_actor(actor text, context jsonb DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_set_actor';
COMMENT ON FUNCTION architect.audit_set_actor(text, jsonb) IS
'say who makes the changes of this transaction; ends with the transaction
SELECT architect.audit_set_actor(''alice'', ''{"request": "r-1001"}'');';

CREATE OR REPLACE FUNCTION architect.audit_readable()
    RETURNS integer[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(registered.table_id), '{}')
    FROM architect.audit_tables AS registered
    JOIN pg_class AS class ON class.oid = registered.relation
    WHERE pg_has_role(class.relowner, 'USAGE')
$function$;
COMMENT ON FUNCTION architect.audit_readable() IS
'table_id of each audited table that the current user owns and so may read the log of
SELECT architect.audit_readable();';

CREATE OR REPLACE FUNCTION architect._audit_origin()
    RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format('%s/%s', control.system_identifier, db.oid)
    FROM pg_control_system() AS control
    JOIN pg_database AS db ON db.datname = current_database()
$function$;
REVOKE ALL ON FUNCTION architect._audit_origin() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_origin() IS
    'what tells this database from every other, restored copies included';
