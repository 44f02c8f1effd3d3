-- audit: how long log rows are kept, and their removal.

CREATE OR REPLACE FUNCTION architect.audit_retain(target regclass, keep interval)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_retain';
COMMENT ON FUNCTION architect.audit_retain(regclass, interval) IS
'let audit_maintain remove log rows of a table when they are older than that; NULL: never; for the owner
SELECT architect.audit_retain(''public.orders'', ''1 year'');';

CREATE OR REPLACE FUNCTION architect.audit_hold(target regclass, reason text)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_hold';
COMMENT ON FUNCTION architect.audit_hold(regclass, text) IS
'let no log row of a table be removed, until audit_release; for the table''s owner
SELECT architect.audit_hold(''public.orders'', ''case 2026-17'');';

CREATE OR REPLACE FUNCTION architect.audit_release(target regclass)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_release';
COMMENT ON FUNCTION architect.audit_release(regclass) IS
'end what audit_hold began; log rows are removed again as audit_retain says
SELECT architect.audit_release(''public.orders'');';

CREATE OR REPLACE FUNCTION architect._audit_relation(number integer)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT class.relname
    FROM architect.audit_tables AS registered
    JOIN pg_class AS class ON class.oid = registered.relation
    WHERE registered.table_id = number
$function$;
REVOKE ALL ON FUNCTION architect._audit_relation(integer) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_relation(integer) IS
    'name of the table that has this number in the log';

CREATE OR REPLACE FUNCTION architect._audit_retain(number integer, keep interval)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET intervalstyle = 'postgres'
AS $function$
DECLARE
    present interval;
BEGIN
    IF keep <= interval '0' OR now() - keep >= now() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid value for "keep": "%s"', keep),
            DETAIL = 'It must be a positive interval.',
            HINT = 'Say how long log rows are kept, as in ''1 year''; NULL keeps them for ever.';
    END IF;

    INSERT INTO architect.audit_retention (table_id) VALUES (number) ON CONFLICT DO NOTHING;
    SELECT retention.keep INTO present
    FROM architect.audit_retention AS retention
    WHERE retention.table_id = number
    FOR UPDATE;
    -- Compared as text: a month is not thirty days.
    IF present::text IS NOT DISTINCT FROM keep::text THEN
        RAISE NOTICE 'log rows of "%" are kept in this way already', architect._audit_relation(number);
        RETURN 0;
    END IF;
    UPDATE architect.audit_retention AS retention
    SET keep = _audit_retain.keep
    WHERE retention.table_id = number;
    PERFORM architect._audit_note(number, 'RETAIN', NULL, jsonb_build_object('keep', keep::text));
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_retain(integer, interval) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_retain(integer, interval) IS
    'what audit_retain does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect._audit_hold(number integer, reason text, held_by text)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    present text;
BEGIN
    INSERT INTO architect.audit_retention (table_id) VALUES (number) ON CONFLICT DO NOTHING;
    SELECT retention.hold INTO present
    FROM architect.audit_retention AS retention
    WHERE retention.table_id = number
    FOR UPDATE;
    IF present IS NOT NULL THEN
        RAISE NOTICE 'log rows of "%" are held already', architect._audit_relation(number)
            USING DETAIL = format('The reason was: %s', present);
    END IF;
    IF present = reason THEN
        RETURN 0;
    END IF;
    UPDATE architect.audit_retention AS retention
    SET hold = reason,
        held_by = _audit_hold.held_by,
        held_at = now()
    WHERE retention.table_id = number;
    PERFORM architect._audit_note(number, 'HOLD', NULL, jsonb_build_object('reason', reason));
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_hold(integer, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_hold(integer, text, text) IS
    'what audit_hold does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect._audit_release(number integer)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    held architect.audit_retention;
BEGIN
    SELECT retention.* INTO held
    FROM architect.audit_retention AS retention
    WHERE retention.table_id = number
    FOR UPDATE;
    IF held.hold IS NULL THEN
        RAISE NOTICE 'log rows of "%" are not held', architect._audit_relation(number);
        RETURN 0;
    END IF;
    UPDATE architect.audit_retention AS retention
    SET hold = NULL,
        held_by = NULL,
        held_at = NULL
    WHERE retention.table_id = number;
    PERFORM architect._audit_note(number, 'RELEASE', NULL,
                                  jsonb_build_object('reason', held.hold, 'held_by', held.held_by));
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_release(integer) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_release(integer) IS
    'what audit_release does, with the rights of the extension''s owner';
