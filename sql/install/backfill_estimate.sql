-- backfill: what one will take.

CREATE OR REPLACE FUNCTION architect.backfill_estimate(
    target regclass, set text, filter text DEFAULT NULL, allow_subqueries boolean DEFAULT false,
    OUT rows bigint, OUT blocks bigint, OUT seconds double precision, OUT wal_bytes bigint,
    OUT heap_growth_bytes bigint, OUT index_growth_bytes bigint)
    RETURNS record
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_estimate';
COMMENT ON FUNCTION architect.backfill_estimate(regclass, text, text, boolean) IS
'what a backfill will take, from a sample that is rolled back; the seconds are of work, not of waiting
SELECT * FROM architect.backfill_estimate(''orders'', ''total_cents = total * 100'', ''total_cents IS NULL'');';
