-- index_advise_report: the advice as a text to be read.

-- Names in the queries are those of the caller's search_path.
CREATE OR REPLACE FUNCTION architect.index_advise_report(budget text DEFAULT NULL, queries text[] DEFAULT NULL,
        weights float8[] DEFAULT NULL, max_indexes int DEFAULT NULL, max_write_overhead float8 DEFAULT NULL,
        max_regression float8 DEFAULT 0.05, time_limit interval DEFAULT '10 seconds', tables regclass[] DEFAULT NULL,
        drops boolean DEFAULT false)
    RETURNS SETOF text
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_index_advise_report';
COMMENT ON FUNCTION architect.index_advise_report(text, text[], float8[], int, float8, float8, interval, regclass[],
                                              boolean) IS
'index_advise as a text to be read: what to build, who gains, what it costs, and what was left out
SELECT architect.index_advise_report(''1GB'', ''{SELECT * FROM orders WHERE total = $1}'');';

CREATE OR REPLACE FUNCTION architect._index_write_number(number float8)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN abs(number) < 100 THEN trim_scale(round(number::numeric, 2)) ELSE round(number::numeric) END::text
$function$;
REVOKE ALL ON FUNCTION architect._index_write_number(float8) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_number(float8) IS 'a number with as many digits as say something';

CREATE OR REPLACE FUNCTION architect._index_write_change(cost_before float8, cost_after float8)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT concat(architect._index_write_number(cost_before), ' -> ', architect._index_write_number(cost_after),
                  ' (' || architect._index_write_number(round((cost_after / nullif(cost_before, 0) - 1) * 1000) / 10)
                  || ' %)')
$function$;
REVOKE ALL ON FUNCTION architect._index_write_change(float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_change(float8, float8) IS 'a cost before and after';

-- Names and texts of others are in it: they get one line, without what steers a terminal.
CREATE OR REPLACE FUNCTION architect._index_write_text(given text, most int)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT left(regexp_replace(given, '[[:cntrl:][:space:]]+', ' ', 'g'), most)
$function$;
REVOKE ALL ON FUNCTION architect._index_write_text(text, int) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_text(text, int) IS 'a text of others in one line, no longer than this';

CREATE OR REPLACE FUNCTION architect._index_write_age(age interval)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE
               WHEN age >= '2 days' THEN extract(epoch FROM age)::bigint / 86400 || ' days'
               WHEN age >= '2 hours' THEN extract(epoch FROM age)::bigint / 3600 || ' hours'
               ELSE extract(epoch FROM age)::bigint / 60 || ' minutes'
           END
$function$;
REVOKE ALL ON FUNCTION architect._index_write_age(interval) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_age(interval) IS 'a time that has passed, as one would say it';

-- Those that gain most come first.
CREATE OR REPLACE FUNCTION architect._index_write_queries(queries jsonb, counts jsonb, texts text[])
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT string_agg(CASE
                          WHEN served.place <= 5
                          THEN format(E'\n     %s, %s %% of the workload, %s: %s',
                                      architect._index_write_change(served.cost_before, served.cost_after),
                                      round(100 * served.share), architect._index_write_number(served.calls)
                                      || CASE WHEN served.calls = 1 THEN ' call' ELSE ' calls' END,
                                      coalesce(architect._index_write_text(served.text, 100),
                                               'query ' || coalesce(served.query_id, served.number)))
                          ELSE format(E'\n     and %s more', served.total - 5)
                      END, '' ORDER BY served.place)
    FROM (SELECT query.*, coalesce(texts[query.number], counts -> query.query_id::text ->> 'text') AS text,
                 count(*) OVER () AS total,
                 row_number() OVER (ORDER BY (query.cost_before - query.cost_after) * query.calls DESC) AS place
          FROM jsonb_to_recordset(queries)
               AS query (number int, query_id bigint, calls float8, share float8, cost_before float8, cost_after float8)
         ) AS served
    WHERE served.place <= 6
$function$;
REVOKE ALL ON FUNCTION architect._index_write_queries(jsonb, jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_queries(jsonb, jsonb, text[]) IS 'who gains by an index, a line each';

CREATE OR REPLACE FUNCTION architect._index_write_report(advice jsonb[], counts jsonb, texts text[])
    RETURNS SETOF text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH piece AS (
        SELECT given.place, piece.*
        FROM unnest(advice) WITH ORDINALITY AS given (item, place)
        CROSS JOIN jsonb_to_record(given.item)
             AS piece (rank int, action text, statement text, undo text, size_bytes bigint, cost_before float8,
                       cost_after float8, queries jsonb, confidence text, query_number int, reason text,
                       build_seconds float8, write_rows float8, wal_bytes float8, lost_hot float8, break_even float8,
                       statistics_age interval)
    ), total AS (
        SELECT count(*) FILTER (WHERE action = 'create') AS created, count(*) FILTER (WHERE action = 'drop') AS dropped,
               count(*) FILTER (WHERE action = 'skip') AS skipped,
               coalesce(sum(size_bytes) FILTER (WHERE action = 'create'), 0) AS bytes,
               sum(build_seconds) FILTER (WHERE action = 'create') AS seconds,
               (array_agg(cost_before ORDER BY place) FILTER (WHERE action <> 'skip'))[1] AS cost_before,
               (array_agg(cost_after ORDER BY place DESC) FILTER (WHERE action <> 'skip'))[1] AS cost_after
        FROM piece
    ), line AS (
        SELECT 0 AS part, 0 AS place,
               CASE
                   WHEN created + dropped = 0 THEN 'No index that was looked at is worth what it costs.'
                   ELSE concat_ws(', ', nullif(created, 0) || ' to create', nullif(dropped, 0) || ' to drop')
                        || format(E': %s, about %s s to build.\nThe workload costs %s.', pg_size_pretty(bytes),
                                  architect._index_write_number(coalesce(seconds, 0)),
                                  architect._index_write_change(cost_before, cost_after))
               END AS text
        FROM total
        UNION ALL
        SELECT 1, place,
               format(E'\n%s. %s', rank, replace(statement, E'\n', E'\n   '))
               || concat(E'\n   ', pg_size_pretty(size_bytes),
                         ', about ' || architect._index_write_number(build_seconds) || ' s to build',
                         '; workload ' || architect._index_write_change(cost_before, cost_after), '; ' || confidence,
                         '; statistics are ' || architect._index_write_age(statistics_age) || ' old')
               || coalesce(E'\n   ' || architect._index_write_text(reason, 1000), '')
               || coalesce(E'\n   Serves:' || architect._index_write_queries(queries, counts, texts), '')
               || CASE
                      WHEN write_rows > 0
                      THEN concat(E'\n   Writes: entries ', architect._index_write_number(write_rows),
                                  ', WAL ' || pg_size_pretty(wal_bytes::bigint),
                                  ', updates no longer heap-only '
                                  || architect._index_write_number(nullif(lost_hot, 0)),
                                  '; pays until there are ' || architect._index_write_number(break_even)
                                  || ' times as many')
                      ELSE ''
                  END
               || coalesce(E'\n   Undo: ' || replace(undo, E'\n', E'\n   '), '')
        FROM piece
        WHERE action <> 'skip'
        UNION ALL
        SELECT 2, 0, E'\nLeft out:' FROM total WHERE skipped > 0
        UNION ALL
        SELECT 3, min(place),
               concat(CASE count(*) WHEN 1 THEN '   query ' ELSE '   queries ' END,
                      string_agg(query_number::text, ', ' ORDER BY place) FILTER (WHERE nth <= 5),
                      ' and ' || nullif(greatest(count(*) - 5, 0), 0) || ' more', ': ',
                      architect._index_write_text(reason, 1000))
        FROM (SELECT *, row_number() OVER (PARTITION BY reason ORDER BY place) AS nth
              FROM piece
              WHERE action = 'skip') AS skipped
        GROUP BY reason
        UNION ALL
        SELECT 4, 0,
               E'\nindex_advise_keep() with the same arguments keeps this for index_advice and index_review().'
        FROM total
        WHERE created + dropped > 0
    )
    SELECT string_to_table(string_agg(text, E'\n' ORDER BY part, place), E'\n') FROM line
$function$;
REVOKE ALL ON FUNCTION architect._index_write_report(jsonb[], jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_write_report(jsonb[], jsonb, text[]) IS 'advice as a text to be read, by lines';
