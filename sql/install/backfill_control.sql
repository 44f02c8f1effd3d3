-- backfill: what steers a job.

CREATE OR REPLACE FUNCTION architect._backfill_root(target regclass)
    RETURNS regclass
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE above AS (
        SELECT $1::oid AS relation, 0 AS height
        UNION ALL
        SELECT link.inhparent, above.height + 1
        FROM above
        JOIN pg_inherits AS link ON link.inhrelid = above.relation AND link.inhseqno = 1
    )
    SELECT above.relation::regclass
    FROM above
    ORDER BY above.height DESC
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION architect._backfill_root(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._backfill_root(regclass) IS
    'the table at the top of the tree of partitions or children';

CREATE OR REPLACE FUNCTION architect._backfill_home()
    RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_backfill_home';
COMMENT ON FUNCTION architect._backfill_home() IS
    'server, database and timeline, where jobs that were begun here may start by themselves; called by views';
