-- index_size: what an index would take if it were built now.

CREATE OR REPLACE FUNCTION architect.index_size_estimate(index regclass)
    RETURNS bigint
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_size';
COMMENT ON FUNCTION architect.index_size_estimate(regclass) IS
'bytes that this index would take if it were built now; NULL where that is not known
SELECT architect.index_size_estimate(index => ''orders_pkey'');';

-- Names in the statement are those of the caller's search_path.
CREATE OR REPLACE FUNCTION architect.index_size_estimate(statement text)
    RETURNS bigint
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_statement_size';
COMMENT ON FUNCTION architect.index_size_estimate(text) IS
'bytes that the index of a CREATE INDEX statement would take, without making it
SELECT architect.index_size_estimate(''CREATE INDEX ON orders (tenant_id, updated_at)'');';

CREATE OR REPLACE FUNCTION architect.index_bloat_measure(index regclass,
        OUT index_bytes bigint, OUT leaf_density float8, OUT fillfactor int, OUT fragmentation float8,
        OUT empty_bytes bigint, OUT fresh_bytes bigint)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    home name;
BEGIN
    SELECT schema.nspname
    INTO home
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    WHERE extension.extname = 'pgstattuple';
    IF home IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'index_bloat_measure needs the extension pgstattuple',
            HINT = 'Run: CREATE EXTENSION pgstattuple;';
    END IF;
    PERFORM
    FROM pg_class AS class
    JOIN pg_am AS method ON method.oid = class.relam
    WHERE class.oid = index AND class.relkind = 'i' AND method.amname = 'btree';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'wrong_object_type',
            MESSAGE = format('"%s" is not a btree index', (SELECT relname FROM pg_class WHERE oid = index)),
            HINT = 'Of a partitioned index, measure those of its partitions.';
    END IF;

    EXECUTE format($$
        SELECT measured.index_size, measured.avg_leaf_density, measured.leaf_fragmentation,
               (measured.empty_pages + measured.deleted_pages) * current_setting('block_size')::int
        FROM %I.pgstatindex($1) AS measured
        $$, home)
    INTO index_bytes, leaf_density, fragmentation, empty_bytes
    USING index;
    SELECT coalesce(max(option.option_value::int), 90)
    INTO fillfactor
    FROM pg_class AS class, pg_options_to_table(class.reloptions) AS option
    WHERE class.oid = index AND option.option_name = 'fillfactor';

    -- What is as dense as fillfactor asks is as big as it should be.
    fresh_bytes := greatest((index_bytes - empty_bytes) * least(leaf_density / fillfactor, 1),
        least(index_bytes, 8192));
END;
$function$;
COMMENT ON FUNCTION architect.index_bloat_measure(regclass) IS
'reads a btree index with the extension pgstattuple and says how dense it is
SELECT * FROM architect.index_bloat_measure(''orders_pkey'');';

CREATE OR REPLACE VIEW architect.index_bloat AS
    SELECT * FROM architect.index_find('{bloat}');
GRANT SELECT ON architect.index_bloat TO PUBLIC;
COMMENT ON VIEW architect.index_bloat IS
'indexes that take much more room than they would if they were built anew
SELECT index, benefit_bytes, statement FROM architect.index_bloat;';

CREATE OR REPLACE VIEW architect.index_brin_candidate AS
    SELECT * FROM architect.index_find('{brin_candidate}');
GRANT SELECT ON architect.index_brin_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_brin_candidate IS
'big btree indexes that a BRIN index could replace
SELECT index, benefit_bytes, statement FROM architect.index_brin_candidate;';

CREATE OR REPLACE VIEW architect.index_hash_candidate AS
    SELECT * FROM architect.index_find('{hash_candidate}');
GRANT SELECT ON architect.index_hash_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_hash_candidate IS
'big btree indexes that a hash index could replace
SELECT index, benefit_bytes, statement FROM architect.index_hash_candidate;';
