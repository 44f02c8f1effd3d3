-- audit: set back what a transaction did, or one record.

CREATE OR REPLACE FUNCTION architect.audit_undo_plan(transaction_id xid8, force boolean DEFAULT false)
    RETURNS TABLE (step integer, statement text, why text, lock text, undo text, conflict jsonb)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_undo_plan';
COMMENT ON FUNCTION architect.audit_undo_plan(xid8, boolean) IS
'statements, in order, that undo a transaction, and conflicts with later changes
SELECT * FROM architect.audit_undo_plan(''4711'');';

CREATE OR REPLACE FUNCTION architect.audit_undo(transaction_id xid8, force boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_undo';
COMMENT ON FUNCTION architect.audit_undo(xid8, boolean) IS
'undo everything that a transaction did to audited tables of yours; returns how many rows changed
SELECT architect.audit_undo(''4711'');';

CREATE OR REPLACE FUNCTION architect.audit_restore(target regclass, record_id text, version bigint)
    RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_restore';
COMMENT ON FUNCTION architect.audit_restore(regclass, text, bigint) IS
'bring a record back to a version of audit_history, deleted or not; returns how many rows changed
SELECT architect.audit_restore(''public.orders'', ''42'', 3);';
