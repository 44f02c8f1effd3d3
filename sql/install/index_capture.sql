-- index_capture: statements as clients ran them, a sample with their values.

CREATE OR REPLACE FUNCTION architect.index_capture(
        OUT query_id bigint, OUT role regrole, OUT seen bigint, OUT calls float8, OUT milliseconds float8,
        OUT statement text, OUT parameters text[], OUT search_path text, OUT stands_for bigint,
        OUT taken_at timestamptz, OUT left_out text)
    RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_capture';
COMMENT ON FUNCTION architect.index_capture() IS
'statements that clients ran here, with their values: those of your roles, or all for members of pg_read_all_stats
SELECT query_id, calls, statement, parameters, search_path FROM architect.index_capture();';

CREATE OR REPLACE FUNCTION architect.index_capture_status(
        OUT problem text, OUT queries integer, OUT most_queries integer, OUT bytes bigint, OUT most_bytes bigint,
        OUT seen bigint, OUT evicted bigint, OUT long_texts bigint, OUT long_values bigint, OUT failed_values bigint,
        OUT unclear_texts bigint, OUT busy bigint, OUT since timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_capture_status';
COMMENT ON FUNCTION architect.index_capture_status() IS
'whether statements are captured, how much memory is in use for them, and what was left out and why
SELECT * FROM architect.index_capture_status();';

CREATE OR REPLACE FUNCTION architect.index_capture_reset()
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_capture_reset';
REVOKE ALL ON FUNCTION architect.index_capture_reset() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION architect.index_capture_reset() TO pg_monitor;
COMMENT ON FUNCTION architect.index_capture_reset() IS
'forget all statements that were captured, in all databases
SELECT architect.index_capture_reset();';
