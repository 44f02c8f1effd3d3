-- index_what_if: what a query would cost with other indexes, none of which is made.

-- Names in the query and in the statements are those of the caller's search_path.
CREATE OR REPLACE FUNCTION architect.index_what_if(query text, create_indexes text[] DEFAULT '{}',
        drop_indexes regclass[] DEFAULT '{}', plans boolean DEFAULT false, parameters text[] DEFAULT NULL,
        OUT cost_before float8, OUT cost_after float8, OUT indexes_used text[], OUT index_sizes bigint[],
        OUT plan_before text, OUT plan_after text, OUT error text)
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_what_if';
COMMENT ON FUNCTION architect.index_what_if(text, text[], regclass[], boolean, text[]) IS
'what the planner expects a query to cost now, and if there were other indexes: nothing is run or made
SELECT * FROM architect.index_what_if(''DELETE FROM orders WHERE total = $1'', ''{CREATE INDEX ON orders (total)}'');';

CREATE OR REPLACE FUNCTION architect.index_explain(query text, create_indexes text[] DEFAULT '{}',
        drop_indexes regclass[] DEFAULT '{}', verbose boolean DEFAULT false, parameters text[] DEFAULT NULL)
    RETURNS SETOF text
    LANGUAGE C STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_explain';
COMMENT ON FUNCTION architect.index_explain(text, text[], regclass[], boolean, text[]) IS
'EXPLAIN of a query as it would be with other indexes
SELECT architect.index_explain(''DELETE FROM orders WHERE total = $1'', ''{CREATE INDEX ON orders (total)}'');';

CREATE OR REPLACE FUNCTION architect._index_what_if_seconds(query text, create_indexes text[], times bigint)
    RETURNS float8
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_what_if_seconds';
REVOKE ALL ON FUNCTION architect._index_what_if_seconds(text, text[], bigint) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_what_if_seconds(text, text[], bigint) IS
    'how long it takes to ask so often what a query costs with these indexes, once all has been read';

CREATE OR REPLACE FUNCTION architect._index_write_cost(statement text, query text,
        OUT entries float8, OUT cost float8, OUT wal_bytes float8, OUT lost_hot float8, OUT build_seconds float8)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_write_cost';
REVOKE ALL ON FUNCTION architect._index_write_cost(text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_cost(text, text) IS
    'what the index of a CREATE INDEX statement would add to one call of a query that changes its table';
