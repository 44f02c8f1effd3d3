-- index_advise: the best set of indexes for a workload.

-- Names in the queries are those of the caller's search_path.
CREATE OR REPLACE FUNCTION architect.index_advise(budget text DEFAULT NULL, queries text[] DEFAULT NULL,
        weights float8[] DEFAULT NULL, max_indexes integer DEFAULT NULL, max_write_overhead float8 DEFAULT NULL,
        max_regression float8 DEFAULT 0.05, time_limit interval DEFAULT '10s', tables regclass[] DEFAULT NULL,
        drops boolean DEFAULT false,
        OUT rank integer, OUT action text, OUT statement text, OUT undo text, OUT relation regclass,
        OUT size_bytes bigint, OUT cost_before float8, OUT cost_after float8, OUT write_cost float8,
        OUT queries jsonb, OUT confidence text, OUT query_number integer, OUT reason text,
        OUT build_seconds float8, OUT write_rows float8, OUT wal_bytes float8, OUT lost_hot float8,
        OUT break_even float8, OUT statistics_age interval)
    RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_advise';
COMMENT ON FUNCTION architect.index_advise(text, text[], float8[], integer, float8, float8, interval, regclass[],
                                              boolean) IS
'the indexes that lower the cost of these queries most, or of those the server has seen: nothing is made
SELECT rank, statement, reason FROM architect.index_advise(''1GB'', ''{DELETE FROM orders WHERE total = 1}'');';
