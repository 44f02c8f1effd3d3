-- index advice: kept, so that it can be followed later and judged by what came of it.

-- Names in the queries are those of the caller's search_path.
CREATE OR REPLACE FUNCTION architect.index_advise_keep(budget text DEFAULT NULL, queries text[] DEFAULT NULL,
        weights float8[] DEFAULT NULL, max_indexes int DEFAULT NULL, max_write_overhead float8 DEFAULT NULL,
        max_regression float8 DEFAULT 0.05, time_limit interval DEFAULT '10 seconds', tables regclass[] DEFAULT NULL,
        drops boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_advise_keep';
COMMENT ON FUNCTION architect.index_advise_keep(text, text[], float8[], int, float8, float8, interval, regclass[],
                                              boolean) IS
'index_advise, which is kept for index_advice and index_review in place of the advice before; returns how many rows
SELECT architect.index_advise_keep(''1GB'', ''{SELECT * FROM orders WHERE total = $1}'');';

CREATE OR REPLACE VIEW architect.index_advised AS
    SELECT * FROM architect.index_find('{advised}');
GRANT SELECT ON architect.index_advised TO PUBLIC;
COMMENT ON VIEW architect.index_advised IS
'what you were advised, have kept and not done
SELECT relation, columns, reason, statement FROM architect.index_advised;';

-- Of the queries in this advice.
CREATE OR REPLACE FUNCTION architect._index_query_counts(advice jsonb[],
        OUT problem text, OUT since timestamptz, OUT counts jsonb)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    home name;
BEGIN
    SELECT schema.nspname
    INTO home
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    WHERE extension.extname = 'pg_stat_statements';
    IF home IS NULL THEN
        problem := 'pg_stat_statements is not installed in this database';
        RETURN;
    END IF;
    EXECUTE format($$
        SELECT (SELECT stats_reset FROM %1$I.pg_stat_statements_info), jsonb_object_agg(entry.queryid, entry)
        FROM (SELECT queryid, sum(calls) AS calls, sum(total_exec_time) AS milliseconds, left(min(query), 200) AS text,
                     -- Known from PostgreSQL 17 on.
                     min((to_jsonb(statement) ->> 'stats_since')::timestamptz) AS since
              FROM %1$I.pg_stat_statements AS statement
              WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND queryid IN (SELECT (number #>> '{}')::bigint
                                FROM unnest($1) AS piece
                                CROSS JOIN jsonb_path_query(piece, '$.queries[*].query_id') AS number)
              GROUP BY queryid) AS entry
        $$, home)
    INTO since, counts
    USING advice;
EXCEPTION
    WHEN object_not_in_prerequisite_state OR insufficient_privilege OR undefined_column OR undefined_table THEN
        problem := 'pg_stat_statements cannot be read: ' || SQLERRM;
END;
$function$;
COMMENT ON FUNCTION architect._index_query_counts(jsonb[]) IS
    'what pg_stat_statements counts of the queries of some advice, as far as the caller may see it';

-- Advice of roles that are no more goes, too: others may get their names.
CREATE OR REPLACE FUNCTION architect._index_keep_advice(caller name, done bigint[], relations oid[], advice jsonb[],
        counts jsonb)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    kept bigint;
BEGIN
    DELETE FROM architect.index_advice_kept AS known
    WHERE known.advised_by = caller AND known.id NOT IN (SELECT id FROM unnest(done) AS id ORDER BY id DESC LIMIT 100)
       OR known.advised_by NOT IN (SELECT rolname FROM pg_roles);
    INSERT INTO architect.index_advice_kept (advised_by, action, schema_name, table_name, statement, undo, size_bytes,
                                             cost_before, cost_after, queries, confidence, reason)
    SELECT caller, piece.action, schema.nspname, class.relname, piece.statement, piece.undo, piece.size_bytes,
           piece.cost_before, piece.cost_after,
           (SELECT coalesce(jsonb_agg(query || jsonb_build_object('counted', counts -> (query ->> 'query_id'))), '[]')
            FROM jsonb_path_query(piece.queries, '$[0 to 99]') AS query),
           piece.confidence, piece.reason
    FROM unnest(relations, advice) WITH ORDINALITY AS given (relation, item, place)
    CROSS JOIN jsonb_to_record(item) AS piece (action text, statement text, undo text, size_bytes bigint,
                                               cost_before float8, cost_after float8, queries jsonb, confidence text,
                                               reason text)
    JOIN pg_class AS class ON class.oid = given.relation
    JOIN pg_namespace AS schema ON schema.oid = class.relnamespace
    WHERE piece.action IN ('create', 'drop')
    ORDER BY given.place
    LIMIT 100;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept;
END;
$function$;
REVOKE ALL ON FUNCTION architect._index_keep_advice(name, bigint[], oid[], jsonb[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_keep_advice(name, bigint[], oid[], jsonb[], jsonb) IS
    'keeps advice for the caller, in place of what was kept before and is not done';
