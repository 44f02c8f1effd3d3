-- audit: the versions of a record.

CREATE OR REPLACE FUNCTION architect.audit_history(target regclass, record_id text)
    RETURNS TABLE (version bigint, operation text, record jsonb, old_values jsonb, new_values jsonb,
                   changed_by text, changed_at timestamptz, transaction_id xid8, complete boolean,
                   log_id bigint, new_record_id text, session_role text, context jsonb)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 10
    AS 'MODULE_PATHNAME', 'architect_audit_history';
COMMENT ON FUNCTION architect.audit_history(regclass, text) IS
'every version of a record, oldest first, each as the whole row; for the table''s owner
SELECT * FROM architect.audit_history(''public.orders'', ''42'');';
