-- What queries do with tables, and the indexes that this asks for.

CREATE OR REPLACE FUNCTION architect.index_workload(queries text[] DEFAULT NULL,
        OUT query_id bigint, OUT calls float8, OUT milliseconds float8, OUT relation regclass, OUT predicates text[],
        OUT unread text[], OUT sort text[], OUT columns text[], OUT assigned text[],
        OUT query_number integer, OUT source text, OUT problem text)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_workload_show';
COMMENT ON FUNCTION architect.index_workload(text[]) IS
'what the index advice understood of these queries, or of those that the server saw: one row a query and table
SELECT relation, predicates, sort FROM architect.index_workload(''{SELECT 1 FROM t WHERE a = $1}'');';

CREATE OR REPLACE VIEW architect.index_missing AS
    SELECT * FROM architect.index_find('{missing}');
GRANT SELECT ON architect.index_missing TO PUBLIC;
COMMENT ON VIEW architect.index_missing IS
    'tables that are read from end to end in large part, and the index that their queries ask for
SELECT relation, columns, reason, statement FROM architect.index_missing;';

CREATE OR REPLACE VIEW architect.index_hot_blocking AS
    SELECT * FROM architect.index_find('{hot_blocking}');
GRANT SELECT ON architect.index_hot_blocking TO PUBLIC;
COMMENT ON VIEW architect.index_hot_blocking IS
    'what makes updates write to every index of a table: the index and column in the way, or full pages
SELECT relation, index, columns, reason FROM architect.index_hot_blocking;';
