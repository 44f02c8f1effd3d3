-- index: what is not used, or not needed, and what other servers counted.

CREATE OR REPLACE VIEW architect.index_unused AS
    SELECT * FROM architect.index_find('{unused}');
GRANT SELECT ON architect.index_unused TO PUBLIC;
COMMENT ON VIEW architect.index_unused IS
'indexes that no scan has used for as long as the setting architect.index_unused_after says
SELECT * FROM architect.index_unused;';

CREATE OR REPLACE VIEW architect.index_duplicate AS
    SELECT * FROM architect.index_find('{duplicate}');
GRANT SELECT ON architect.index_duplicate TO PUBLIC;
COMMENT ON VIEW architect.index_duplicate IS
'indexes with the same keys as another one, which does all that they do
SELECT * FROM architect.index_duplicate;';

CREATE OR REPLACE VIEW architect.index_redundant AS
    SELECT * FROM architect.index_find('{redundant}');
GRANT SELECT ON architect.index_redundant TO PUBLIC;
COMMENT ON VIEW architect.index_redundant IS
'indexes that another one, which has more in it, makes needless
SELECT * FROM architect.index_redundant;';

CREATE OR REPLACE FUNCTION architect.index_usage_export()
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT jsonb_build_object(
               'stats_since', (SELECT greatest(database.stats_reset, archiver.stats_reset)
                               FROM pg_stat_archiver AS archiver
                               LEFT JOIN pg_stat_database AS database ON database.datname = current_database()),
               'indexes', coalesce(jsonb_agg(jsonb_build_object(
                   'schema_name', stat.schemaname,
                   'index_name', stat.indexrelname,
                   'scans', stat.idx_scan,
                   'entries', stat.idx_tup_read,
                   -- Known from PostgreSQL 16 on.
                   'last_scan', to_jsonb(stat) -> 'last_idx_scan')), '[]'))
    FROM pg_stat_user_indexes AS stat
    WHERE stat.schemaname !~ '^pg_'
$function$;
COMMENT ON FUNCTION architect.index_usage_export() IS
'what this server counted of the indexes of this database, for index_usage_import on another
SELECT architect.index_usage_export();';

CREATE OR REPLACE FUNCTION architect.index_usage_import(server text, usage jsonb)
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_usage_import';
COMMENT ON FUNCTION architect.index_usage_import(text, jsonb) IS
'take in what another server counted, instead of what it counted before; returns of how many indexes
SELECT architect.index_usage_import(''replica 1'', architect.index_usage_export());';

CREATE OR REPLACE FUNCTION architect.index_usage_forget(server text)
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_usage_forget';
COMMENT ON FUNCTION architect.index_usage_forget(text) IS
'forget what a server counted; returns of how many indexes
SELECT architect.index_usage_forget(''replica 1'');';

-- Rows of indexes that are no more are anybody's to remove.
CREATE OR REPLACE FUNCTION architect._index_note_usage(caller oid, server_name text, usage jsonb)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    well_formed boolean := false;
    taken bigint;
BEGIN
    IF jsonb_typeof(usage -> 'indexes') = 'array' THEN
        well_formed := NOT EXISTS (SELECT
                                   FROM jsonb_array_elements(usage -> 'indexes') AS given
                                   WHERE jsonb_typeof(given) <> 'object'
                                      OR coalesce(given ->> 'scans', '') !~ '^\d+$');
    END IF;
    IF usage IS NOT NULL AND NOT well_formed THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'usage does not say how often each index was scanned',
            HINT = 'Pass what architect.index_usage_export() gives on the other server.';
    END IF;
    DELETE FROM architect.index_usage AS known
    WHERE known.server = server_name
      AND NOT EXISTS (SELECT
                      FROM pg_class AS class
                      JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
                      WHERE namespace.nspname = known.schema_name
                        AND class.relname = known.index_name
                        AND class.relkind = 'i'
                        AND NOT (pg_has_role(caller, class.relowner, 'USAGE')
                                 OR pg_has_role(caller, 'pg_monitor', 'USAGE')));
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF usage IS NULL THEN
        RETURN taken;
    END IF;
    INSERT INTO architect.index_usage (server, schema_name, index_name, scans, entries, last_scan, stats_since)
    SELECT DISTINCT ON (namespace.nspname, class.relname)
           server_name, namespace.nspname, class.relname, given.scans, coalesce(given.entries, 0), given.last_scan,
           (usage ->> 'stats_since')::timestamptz
    FROM jsonb_to_recordset(usage -> 'indexes')
         AS given (schema_name name, index_name name, scans bigint, entries bigint, last_scan timestamptz)
    JOIN pg_namespace AS namespace ON namespace.nspname = given.schema_name
    JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relname = given.index_name
    WHERE class.relkind = 'i'
      AND (pg_has_role(caller, class.relowner, 'USAGE') OR pg_has_role(caller, 'pg_monitor', 'USAGE'))
    ORDER BY namespace.nspname, class.relname, given.scans DESC;
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken;
END
$function$;
REVOKE ALL ON FUNCTION architect._index_note_usage(oid, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION architect._index_note_usage(oid, text, jsonb) IS
    'keeps what a server counted of the indexes that are the caller''s, or forgets it where there is nothing';
