-- audit: the table as it was, and what changed since.

CREATE OR REPLACE FUNCTION architect._audit_mark(name text, snapshot text)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO architect.audit_marks (name, snapshot, marked_at, marked_by, origin)
    VALUES (_audit_mark.name, _audit_mark.snapshot::pg_snapshot,
            -- Not later than the snapshot.
            CASE WHEN current_setting('transaction_isolation') = 'read committed' THEN statement_timestamp()
                 ELSE transaction_timestamp()
            END,
            session_user,
            architect._audit_origin());
    RETURN 1;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('mark "%s" exists already', _audit_mark.name),
            HINT = 'Choose another name, or call architect.audit_unmark first.';
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_mark(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_mark(text, text) IS
    'stores a mark';

CREATE OR REPLACE FUNCTION architect.audit_mark(name text)
    RETURNS pg_snapshot
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_mark';
COMMENT ON FUNCTION architect.audit_mark(text) IS
'set a mark: a moment that audit_as_of can go back to exactly
SELECT architect.audit_mark(''before the migration'');';

CREATE OR REPLACE FUNCTION architect._audit_unmark(name text, caller text)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    DELETE FROM architect.audit_marks AS mark
    WHERE mark.name = _audit_unmark.name
      AND (mark.marked_by = session_user OR pg_has_role(_audit_unmark.caller, current_user, 'USAGE'));
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = format('mark "%s" does not exist, or is not yours', _audit_unmark.name),
            HINT = 'Marks are listed in architect.audit_marks, with who set them.';
    END IF;
    RETURN 1;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_unmark(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_unmark(text, text) IS
    'removes a mark of the session user, or any for who has the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect.audit_unmark(name text)
    RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_unmark';
COMMENT ON FUNCTION architect.audit_unmark(text) IS
'remove a mark that you have set
SELECT architect.audit_unmark(''before the migration'');';

CREATE OR REPLACE FUNCTION architect._audit_as_of_support(internal)
    RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_as_of_support';
REVOKE ALL ON FUNCTION architect._audit_as_of_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_as_of_support(internal) IS
    'tells the planner how many rows audit_as_of gives';

CREATE OR REPLACE FUNCTION architect.audit_as_of(
        example anyelement, at timestamptz DEFAULT NULL, mark text DEFAULT NULL)
    RETURNS SETOF anyelement
    LANGUAGE C STABLE PARALLEL RESTRICTED
    ROWS 10000
    SUPPORT architect._audit_as_of_support
    AS 'MODULE_PATHNAME', 'architect_audit_as_of';
COMMENT ON FUNCTION architect.audit_as_of(anyelement, timestamptz, text) IS
'an audited table as it was at a time or a mark; for the table''s owner
SELECT * FROM architect.audit_as_of(NULL::public.orders, at => now());';

CREATE OR REPLACE FUNCTION architect.audit_changes(
        target regclass, since timestamptz, until timestamptz DEFAULT NULL)
    RETURNS TABLE (record_id text, operation text, old_values jsonb, new_values jsonb)
    LANGUAGE C STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'architect_audit_changes';
COMMENT ON FUNCTION architect.audit_changes(regclass, timestamptz, timestamptz) IS
'the net change of each record between two times; for the table''s owner
SELECT * FROM architect.audit_changes(''public.orders'', now() - interval ''1 hour'');';

CREATE OR REPLACE FUNCTION architect.audit_verify(target regclass)
    RETURNS TABLE (record_id text, problem text, logged jsonb, live jsonb)
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'architect_audit_verify';
COMMENT ON FUNCTION architect.audit_verify(regclass) IS
'the records in which a table is not what its log comes to; no row means that all agree; for the table''s owner
SELECT * FROM architect.audit_verify(''public.orders'');';

CREATE OR REPLACE FUNCTION architect.audit_baseline(target regclass)
    RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_baseline';
COMMENT ON FUNCTION architect.audit_baseline(regclass) IS
'put the rows of an audited table into its log as they are, to be verified from then on; for the table''s owner
SELECT architect.audit_baseline(''public.orders'');';
