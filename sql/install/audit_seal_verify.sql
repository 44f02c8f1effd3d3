-- audit: what compares the log with its seals.

CREATE OR REPLACE FUNCTION architect._audit_seal_check(
        seal bigint, snapshot pg_snapshot, previous pg_snapshot, first_seal bigint, floor bigint, last_id bigint,
        newest_id bigint, rows bigint, transactions bigint, root bytea, removed bigint, unsound bigint[])
    RETURNS TABLE (transaction_id xid8, log_id bigint, problem text)
    LANGUAGE C STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET work_mem = '64MB'
    AS 'MODULE_PATHNAME', 'architect_audit_seal_check';
REVOKE ALL ON FUNCTION architect._audit_seal_check(
    bigint, pg_snapshot, pg_snapshot, bigint, bigint, bigint, bigint, bigint, bigint, bytea, bigint, bigint[])
    FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_check(
    bigint, pg_snapshot, pg_snapshot, bigint, bigint, bigint, bigint, bigint, bigint, bytea, bigint, bigint[]) IS
    'problems of the log rows and the records of one seal';

CREATE OR REPLACE FUNCTION architect._audit_seal_problem(
        seal bigint, transaction_id xid8, log_id bigint, problem text)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_seal_problem';
REVOKE ALL ON FUNCTION architect._audit_seal_problem(bigint, xid8, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_problem(bigint, xid8, bigint, text) IS
    'adds a row to the result of audit_verify_seals';

CREATE OR REPLACE FUNCTION architect._audit_removed_rows()
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(jsonb_object_agg(sum.seal, sum.rows), '{}')
    FROM (SELECT part.seal, sum(part.rows::numeric) AS rows
          FROM architect.audit_log AS log
          CROSS JOIN LATERAL jsonb_each_text(
              CASE WHEN jsonb_typeof(log.context -> 'seals') = 'object' THEN log.context -> 'seals' END)
              AS part (seal, rows)
          WHERE log.operation = 'RETAIN'
            AND part.rows ~ '^[0-9]{1,18}$'
          GROUP BY part.seal) AS sum
$function$;
REVOKE ALL ON FUNCTION architect._audit_removed_rows() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_removed_rows() IS
    'how many sealed rows the log says that retention has removed, by seal';

CREATE OR REPLACE FUNCTION architect._audit_unsound_erasures()
    RETURNS bigint[]
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(erasure.erase_id), '{}')
    FROM (SELECT erased.erase_id, erased.erase_transaction,
                 architect._audit_erase_digest(array_agg(erased.log_id), array_agg(erased.leaf)) AS digest
          FROM architect.audit_seal_erasures AS erased
          GROUP BY erased.erase_id, erased.erase_transaction) AS erasure
    WHERE NOT EXISTS (SELECT FROM architect.audit_log AS log
                      WHERE log.transaction_id = erasure.erase_transaction
                        AND log.id = erasure.erase_id
                        AND log.operation = 'ERASE'
                        AND log.context ->> 'digest' = erasure.digest)
$function$;
REVOKE ALL ON FUNCTION architect._audit_unsound_erasures() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_unsound_erasures() IS
    'erasures that the log does not know of in this way';

CREATE OR REPLACE FUNCTION architect._audit_check_digest(digest text)
    RETURNS TABLE (seal bigint, problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    part text[] := regexp_match(digest, '^\s*pg_architect seal (\d{1,18}) \S+ ([0-9a-f]{64})\s*$');
    found bytea;
BEGIN
    IF part IS NULL THEN
        RAISE EXCEPTION 'invalid digest: "%"', digest
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give a line that architect.audit_digest() has printed.';
    END IF;
    seal := part[1]::bigint;
    IF to_regclass('architect.audit_seals') IS NOT NULL THEN
        SELECT seals.hash INTO found FROM architect.audit_seals AS seals WHERE seals.seal = part[1]::bigint;
    END IF;
    problem := CASE WHEN found IS NULL THEN 'seal of the digest is missing'
                    WHEN found <> decode(part[2], 'hex') THEN 'seal is not that of the digest' END;
    IF problem IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_check_digest(text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_check_digest(text) IS
    'whether the seal that a digest names is there and has that hash';

CREATE OR REPLACE FUNCTION architect._audit_check_chain()
    RETURNS TABLE (seal bigint, problem text)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH chain AS (
        SELECT seals.*,
               lag(seals.seal, 1, 0::bigint) OVER by_number AS seal_before,
               lag(seals.hash) OVER by_number AS hash_before
        FROM architect.audit_seals AS seals
        WINDOW by_number AS (ORDER BY seals.seal)
    )
    SELECT gap.seal, 'seal is missing'
    FROM chain
    -- A forged number may be large.
    CROSS JOIN LATERAL generate_series(chain.seal_before + 1, least(chain.seal - 1, chain.seal_before + 1000))
        AS gap (seal)
    UNION ALL
    SELECT chain.seal, 'seal is changed'
    FROM chain
    WHERE chain.hash IS DISTINCT FROM architect._audit_seal_hash(
              chain.seal, chain.sealed_at, chain.origin, chain.snapshot, chain.last_id, chain.rows,
              chain.transactions, chain.root, chain.previous)
    UNION ALL
    SELECT chain.seal, 'seal does not follow the one before'
    FROM chain
    WHERE chain.previous IS DISTINCT FROM chain.hash_before
    UNION ALL
    SELECT DISTINCT stray.seal, 'seal is missing'
    FROM architect.audit_seal_rows AS stray
    WHERE stray.seal > (SELECT coalesce(max(chain.seal), 0) FROM chain)
$function$;
REVOKE ALL ON FUNCTION architect._audit_check_chain() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_check_chain() IS
    'problems of the seals themselves';

CREATE OR REPLACE FUNCTION architect._audit_verify_seals(digest text)
    RETURNS TABLE (seal bigint, transaction_id xid8, log_id bigint, problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    here text := architect._audit_origin();
    removed jsonb;
    unsound bigint[];
    span record;
BEGIN
    IF digest IS NOT NULL THEN
        RETURN QUERY SELECT found.seal, NULL::xid8, NULL::bigint, found.problem
                     FROM architect._audit_check_digest(digest) AS found;
    END IF;
    IF to_regclass('architect.audit_seals') IS NULL THEN
        RAISE NOTICE 'nothing is sealed yet'
            USING HINT = 'Call architect.audit_seal.';
        RETURN;
    END IF;
    RETURN QUERY SELECT found.seal, NULL::xid8, NULL::bigint, found.problem
                 FROM architect._audit_check_chain() AS found;
    SELECT architect._audit_removed_rows(), architect._audit_unsound_erasures() INTO removed, unsound;

    FOR span IN SELECT * FROM architect._audit_seal_spans() LOOP
        RETURN QUERY
            SELECT span.seal, found.transaction_id, found.log_id, found.problem
            FROM architect._audit_seal_check(
                span.seal, span.snapshot, span.previous, span.first_seal, span.floor, span.last_id,
                -- Where a newer origin has sealed all anew, it looks for rows that are too much.
                CASE WHEN span.origin <> span.last_origin THEN -1
                     WHEN span.origin <> here THEN span.newest_id
                     ELSE 9223372036854775807 END,
                span.rows, span.transactions, span.root,
                coalesce((removed ->> span.seal::text)::bigint, 0), unsound) AS found;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_verify_seals(text) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_verify_seals(text) IS
    'what audit_verify_seals does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect._audit_seal_spans()
    RETURNS TABLE (seal bigint, origin text, snapshot pg_snapshot, previous pg_snapshot, first_seal bigint,
                   floor bigint, last_id bigint, rows bigint, transactions bigint, root bytea,
                   last_origin text, newest_id bigint)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH chain AS (
        SELECT seals.*,
               lag(seals.origin) OVER by_number AS origin_before,
               lag(seals.snapshot) OVER by_number AS snapshot_before
        FROM architect.audit_seals AS seals
        WINDOW by_number AS (ORDER BY seals.seal)
    ), numbered AS (
        SELECT chain.*,
               chain.origin IS DISTINCT FROM chain.origin_before AS is_first,
               max(chain.seal) FILTER (WHERE chain.origin IS DISTINCT FROM chain.origin_before)
                   OVER (ORDER BY chain.seal) AS first_seal
        FROM chain
    )
    SELECT numbered.seal, numbered.origin, numbered.snapshot,
           CASE WHEN NOT numbered.is_first THEN numbered.snapshot_before END,
           numbered.first_seal, first.last_id, numbered.last_id, numbered.rows, numbered.transactions, numbered.root,
           last_value(numbered.origin) OVER whole, last_value(numbered.last_id) OVER whole
    FROM numbered
    JOIN architect.audit_seals AS first ON first.seal = numbered.first_seal
    WINDOW whole AS (ORDER BY numbered.seal ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ORDER BY numbered.seal
$function$;
REVOKE ALL ON FUNCTION architect._audit_seal_spans() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_spans() IS
    'which log rows each seal is about, and what it says of them';

CREATE OR REPLACE FUNCTION architect.audit_verify_seals(digest text DEFAULT NULL)
    RETURNS TABLE (seal bigint, transaction_id xid8, log_id bigint, problem text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_verify_seals';
REVOKE ALL ON FUNCTION architect.audit_verify_seals(text) FROM PUBLIC;
COMMENT ON FUNCTION architect.audit_verify_seals(text) IS
'every sealed log row that was changed, removed or added since, and every seal that was; no row: all holds
SELECT * FROM architect.audit_verify_seals();';
