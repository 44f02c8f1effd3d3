-- index review: what came of advice that was kept and followed.

CREATE OR REPLACE FUNCTION architect._index_kept(
        OUT id bigint, OUT advised_at timestamptz, OUT action text, OUT relation regclass, OUT index regclass,
        OUT done boolean, OUT statement text, OUT size_bytes bigint, OUT queries jsonb, OUT scans bigint,
        OUT problem text)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_kept';
COMMENT ON FUNCTION architect._index_kept() IS
    'advice that the caller has kept, and the index that is as advised';

CREATE OR REPLACE FUNCTION architect.index_review(
        OUT advised_at timestamptz, OUT action text, OUT relation regclass, OUT index regclass, OUT statement text,
        OUT predicted_bytes bigint, OUT size_bytes bigint, OUT scans bigint, OUT query_id bigint, OUT query text,
        OUT calls bigint, OUT milliseconds_before float8, OUT milliseconds_since float8, OUT predicted_ratio float8,
        OUT measured_ratio float8, OUT verdict text)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH followed AS MATERIALIZED (
        SELECT kept.*,
               (SELECT sum(pg_relation_size(coalesce(leaf.relid, kept.index)))
                FROM (VALUES (1)) AS one
                LEFT JOIN pg_partition_tree(kept.index) AS leaf ON leaf.isleaf
                WHERE kept.index IS NOT NULL)::bigint AS real_bytes
        FROM architect._index_kept() AS kept
        WHERE kept.done
    ), counted AS MATERIALIZED (
        SELECT counts.*
        FROM (SELECT array_agg(to_jsonb(followed)) AS advice FROM followed) AS whole
        CROSS JOIN architect._index_query_counts(whole.advice) AS counts
    ), served AS (
        SELECT followed.*, counted.problem AS uncounted, query.place,
               nullif(query.item ->> 'query_id', '0')::bigint AS number,
               query.item -> 'counted' ->> 'text' AS text,
               (query.item ->> 'cost_after')::float8 / nullif((query.item ->> 'cost_before')::float8, 0) AS predicted,
               (query.item -> 'counted' ->> 'calls')::float8 AS old_calls,
               (query.item -> 'counted' ->> 'milliseconds')::float8 AS old_milliseconds,
               (counted.counts -> (query.item ->> 'query_id') ->> 'calls')::float8 AS new_calls,
               (counted.counts -> (query.item ->> 'query_id') ->> 'milliseconds')::float8 AS new_milliseconds,
               greatest(counted.since, (counted.counts -> (query.item ->> 'query_id') ->> 'since')::timestamptz)
                   > followed.advised_at AS is_reset
        FROM followed
        CROSS JOIN counted
        LEFT JOIN jsonb_array_elements(followed.queries) WITH ORDINALITY AS query (item, place) ON true
    ), compared AS (
        SELECT served.*, base.is_new, (served.new_calls - base.calls) AS calls_since,
               served.old_milliseconds / nullif(served.old_calls, 0) AS before,
               (served.new_milliseconds - base.milliseconds) / nullif(served.new_calls - base.calls, 0) AS since
        FROM served
        -- Counters that began anew count from nothing.
        CROSS JOIN LATERAL (SELECT coalesce(served.is_reset, false)
                                   OR served.new_calls < served.old_calls) AS anew (yes)
        CROSS JOIN LATERAL (SELECT anew.yes AS is_new,
                                   CASE WHEN anew.yes THEN 0 ELSE served.old_calls END AS calls,
                                   CASE WHEN anew.yes THEN 0 ELSE served.old_milliseconds END AS milliseconds) AS base
    )
    SELECT compared.advised_at, compared.action, compared.relation, compared.index, compared.statement,
           CASE WHEN compared.action = 'create' THEN compared.size_bytes END, compared.real_bytes, compared.scans,
           compared.number, compared.text, compared.calls_since::bigint, compared.before, compared.since,
           compared.predicted, compared.since / nullif(compared.before, 0),
           CASE
               WHEN compared.place IS NULL THEN 'the advice names no query'
               WHEN compared.number IS NULL THEN 'not measured: the query was given as text, and has no number'
               WHEN compared.uncounted IS NOT NULL THEN 'not measured: ' || compared.uncounted
               WHEN compared.before IS NULL THEN 'not measured: nothing was counted of it when it was kept'
               WHEN compared.new_calls IS NULL THEN 'not measured: pg_stat_statements has forgotten it'
               WHEN compared.calls_since = 0 THEN 'not called since'
               WHEN compared.calls_since < 5 THEN 'called too seldom since to tell'
               WHEN compared.since <= compared.before * compared.predicted * 1.5 THEN 'as predicted'
               WHEN compared.since < compared.before * 0.9 THEN 'faster, but less than predicted'
               WHEN compared.since <= compared.before * 1.1 THEN 'no faster'
               ELSE 'slower'
           END
           || CASE WHEN compared.is_new AND compared.calls_since > 0 THEN '; counted since a reset' ELSE '' END
           || CASE WHEN compared.scans = 0 THEN '; no scan has used the index' ELSE '' END
    FROM compared
    ORDER BY compared.advised_at, compared.id, compared.place
$function$;
COMMENT ON FUNCTION architect.index_review() IS
'what came of advice that you kept and followed: predicted against measured, one row an index and query
SELECT index, query_id, predicted_ratio, measured_ratio, verdict FROM architect.index_review();';
