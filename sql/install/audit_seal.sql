-- audit: seals over the log, and what checks them.

CREATE OR REPLACE FUNCTION architect._audit_make_seals()
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET default_tablespace = ''
AS $function$
BEGIN
    CREATE TABLE architect.audit_seals (
        seal bigint NOT NULL,
        sealed_at timestamptz NOT NULL,
        origin text NOT NULL,
        snapshot pg_snapshot NOT NULL,
        last_id bigint NOT NULL,
        rows bigint NOT NULL,
        transactions bigint NOT NULL,
        root bytea NOT NULL,
        previous bytea,
        hash bytea NOT NULL,
        CONSTRAINT audit_seals_pkey PRIMARY KEY (seal)
    ) USING heap;
    -- The layout of data is known to the library (src/audit/seal_record.c).
    CREATE TABLE architect.audit_seal_rows (
        seal bigint NOT NULL,
        chunk integer NOT NULL,
        first_transaction xid8 NOT NULL,
        first_id bigint NOT NULL,
        last_transaction xid8 NOT NULL,
        last_id bigint NOT NULL,
        data bytea NOT NULL,
        CONSTRAINT audit_seal_rows_pkey PRIMARY KEY (seal, chunk)
    ) USING heap;
    -- Hashes cannot be compressed.
    ALTER TABLE architect.audit_seal_rows ALTER data SET STORAGE EXTERNAL;
    CREATE TABLE architect.audit_seal_erasures (
        log_id bigint NOT NULL,
        erase_id bigint NOT NULL,
        erase_transaction xid8 NOT NULL,
        salt bytea,
        leaf bytea NOT NULL,
        CONSTRAINT audit_seal_erasures_pkey PRIMARY KEY (log_id, erase_id)
    ) USING heap;
    REVOKE ALL ON architect.audit_seals, architect.audit_seal_rows, architect.audit_seal_erasures FROM PUBLIC;
    GRANT SELECT ON architect.audit_seals TO PUBLIC;

    COMMENT ON TABLE architect.audit_seals IS
'one row a seal of the audit log, each chained to the one before
SELECT * FROM architect.audit_seals ORDER BY seal DESC LIMIT 10;';
    COMMENT ON COLUMN architect.audit_seals.origin IS
        'system identifier and database: transaction numbers of another mean nothing here';
    COMMENT ON COLUMN architect.audit_seals.snapshot IS
        'transactions visible in it, and not in that of the seal before, are sealed here';
    COMMENT ON COLUMN architect.audit_seals.last_id IS 'greatest id of a log row sealed so far';
    COMMENT ON COLUMN architect.audit_seals.rows IS 'log rows in this seal';
    COMMENT ON COLUMN architect.audit_seals.transactions IS 'transactions that they are of';
    COMMENT ON COLUMN architect.audit_seals.root IS 'Merkle root over the transactions';
    COMMENT ON COLUMN architect.audit_seals.previous IS 'hash of the seal before';
    COMMENT ON COLUMN architect.audit_seals.hash IS 'hash of all other columns';
    COMMENT ON TABLE architect.audit_seal_rows IS
'hash and salt of each sealed log row, some thousand a row; for the extension''s owner
SELECT seal, count(*), sum(length(data)) AS bytes FROM architect.audit_seal_rows GROUP BY seal;';
    COMMENT ON TABLE architect.audit_seal_erasures IS
'hash and salt of sealed log rows as audit_erase left them; for the extension''s owner
SELECT log_id, erase_id FROM architect.audit_seal_erasures;';
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_make_seals() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_make_seals() IS
    'makes the tables that seals are kept in';

CREATE OR REPLACE FUNCTION architect._audit_seal_hash(
        seal bigint, sealed_at timestamptz, origin text, snapshot pg_snapshot, last_id bigint,
        rows bigint, transactions bigint, root bytea, previous bytea)
    RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
    SELECT sha256('\x03'::bytea || coalesce(previous, ''::bytea) ||
                  convert_to(concat_ws('|', seal, to_char(sealed_at, 'YYYY-MM-DD"T"HH24:MI:SS.US'), origin,
                                       snapshot, last_id, rows, transactions, ''), 'UTF8') || root)
$function$;
REVOKE ALL ON FUNCTION architect._audit_seal_hash(
    bigint, timestamptz, text, pg_snapshot, bigint, bigint, bigint, bytea, bytea) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_hash(
    bigint, timestamptz, text, pg_snapshot, bigint, bigint, bigint, bytea, bytea) IS
    'what audit_seals.hash must be';

CREATE OR REPLACE FUNCTION architect._audit_seal_write(
        seal bigint, snapshot pg_snapshot, previous pg_snapshot, first_seal bigint, floor bigint,
        OUT last_id bigint, OUT rows bigint, OUT transactions bigint, OUT root bytea)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET work_mem = '64MB'
    AS 'MODULE_PATHNAME', 'architect_audit_seal_write';
REVOKE ALL ON FUNCTION architect._audit_seal_write(bigint, pg_snapshot, pg_snapshot, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_write(bigint, pg_snapshot, pg_snapshot, bigint, bigint) IS
    'stores the records of a seal';

CREATE OR REPLACE FUNCTION architect._audit_seal_leaf(salt bytea, entry record)
    RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_seal_leaf';
REVOKE ALL ON FUNCTION architect._audit_seal_leaf(bytea, record) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_leaf(bytea, record) IS
    'salted hash of a row of the log';

CREATE OR REPLACE FUNCTION architect._audit_seal_records(data bytea)
    RETURNS TABLE (transaction_id xid8, log_id bigint, flags integer, salt bytea, leaf bytea)
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 4000
    AS 'MODULE_PATHNAME', 'architect_audit_seal_records';
REVOKE ALL ON FUNCTION architect._audit_seal_records(bytea) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_records(bytea) IS
    'records in audit_seal_rows.data; flags: 1 erased, 2 removed, 4 changed before it was erased';

CREATE OR REPLACE FUNCTION architect._audit_lock_seals()
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regclass('architect.audit_seals') IS NULL THEN
        -- The very first may be in the making.
        LOCK TABLE architect.audit_tables IN SHARE UPDATE EXCLUSIVE MODE;
        IF to_regclass('architect.audit_seals') IS NULL THEN
            RETURN false;
        END IF;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'cannot work on seals of the audit log in a transaction of isolation level %',
                current_setting('transaction_isolation')
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'Its snapshot may be older than the last seal.',
                  HINT = 'Call it in a transaction of level READ COMMITTED.';
    END IF;
    LOCK TABLE architect.audit_seals IN SHARE ROW EXCLUSIVE MODE;
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_lock_seals() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_lock_seals() IS
    'makes others wait who would seal, erase or remove; false where nothing was ever sealed';

CREATE OR REPLACE FUNCTION architect._audit_first_seal()
    RETURNS TABLE (seal bigint, last_id bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- That of the present origin, among seals that end with one of it.
    SELECT first.seal, first.last_id
    FROM architect.audit_seals AS first
    WHERE first.seal > coalesce((SELECT max(other.seal) FROM architect.audit_seals AS other
                                 WHERE other.origin <> architect._audit_origin()), 0)
    ORDER BY first.seal
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION architect._audit_first_seal() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_first_seal() IS
    'the seal that took all of the log that was there when this database was first sealed';

CREATE OR REPLACE FUNCTION architect._audit_seal()
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    last record;
    first record;
    made record;
    number bigint;
    origin text := architect._audit_origin();
    moment timestamptz := clock_timestamp();
BEGIN
    IF to_regclass('architect.audit_log') IS NULL THEN
        RAISE NOTICE 'there is no audit log yet'
            USING HINT = 'The first call of architect.audit_enable makes it.';
        RETURN NULL;
    END IF;
    -- The seals before the log, as all do who need both.
    IF NOT architect._audit_lock_seals() THEN
        PERFORM architect._audit_make_seals();
    END IF;

    SELECT seals.* INTO last FROM architect.audit_seals AS seals ORDER BY seals.seal DESC LIMIT 1;
    SELECT seals.* INTO first FROM architect._audit_first_seal() AS seals;
    number := coalesce(last.seal, 0) + 1;
    IF last.seal IS NOT NULL AND first.seal IS NULL THEN
        RAISE NOTICE 'the log was sealed in another database: all of it is sealed anew';
    END IF;

    SELECT now.snapshot, written.*
    INTO made
    FROM pg_current_snapshot() AS now (snapshot)
    CROSS JOIN LATERAL architect._audit_seal_write(
        number, now.snapshot, CASE WHEN first.seal IS NOT NULL THEN last.snapshot END, first.seal, first.last_id)
        AS written;
    IF made.rows = 0 THEN
        RAISE NOTICE 'there is nothing new to seal';
        RETURN NULL;
    END IF;

    made.last_id := greatest(made.last_id, CASE WHEN first.seal IS NOT NULL THEN last.last_id END);
    INSERT INTO architect.audit_seals (seal, sealed_at, origin, snapshot, last_id, rows, transactions, root,
                                       previous, hash)
    VALUES (number, moment, origin, made.snapshot, made.last_id, made.rows, made.transactions, made.root, last.hash,
            architect._audit_seal_hash(number, moment, origin, made.snapshot, made.last_id, made.rows,
                                       made.transactions, made.root, last.hash));
    RETURN number;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_seal() FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal() IS
    'what audit_seal does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect.audit_seal()
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_seal';
REVOKE ALL ON FUNCTION architect.audit_seal() FROM PUBLIC;
COMMENT ON FUNCTION architect.audit_seal() IS
'seal what was logged since the last seal; returns its number, NULL where nothing is new
SELECT architect.audit_seal();';

CREATE OR REPLACE FUNCTION architect.audit_digest()
    RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
DECLARE
    digest text;
BEGIN
    IF to_regclass('architect.audit_seals') IS NOT NULL THEN
        SELECT format('pg_architect seal %s %s %s', seals.seal,
                      to_char(seals.sealed_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), encode(seals.hash, 'hex'))
        INTO digest
        FROM architect.audit_seals AS seals
        ORDER BY seals.seal DESC
        LIMIT 1;
    END IF;
    IF digest IS NULL THEN
        RAISE NOTICE 'nothing is sealed yet'
            USING HINT = 'Call architect.audit_seal.';
    END IF;
    RETURN digest;
END
$function$;
REVOKE ALL ON FUNCTION architect.audit_digest() FROM PUBLIC;
COMMENT ON FUNCTION architect.audit_digest() IS
'one line that stands for the last seal and all before it; store it where this server cannot change it
SELECT architect.audit_digest();';

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

CREATE OR REPLACE FUNCTION architect._audit_erase_digest(log_ids bigint[], leaves bytea[])
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT encode(sha256(string_agg(int8send(part.log_id) || part.leaf, ''::bytea ORDER BY part.log_id)), 'hex')
    FROM unnest(log_ids, leaves) AS part (log_id, leaf)
$function$;
REVOKE ALL ON FUNCTION architect._audit_erase_digest(bigint[], bytea[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_erase_digest(bigint[], bytea[]) IS
    'what binds the new leaves of erased rows to the log row of the erasure';

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

CREATE OR REPLACE FUNCTION architect._audit_seal_mark(
        data bytea, transactions xid8[], ids bigint[], flag integer, OUT marked_data bytea, OUT marked integer)
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_seal_mark';
REVOKE ALL ON FUNCTION architect._audit_seal_mark(bytea, xid8[], bigint[], integer) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_seal_mark(bytea, xid8[], bigint[], integer) IS
    'sets a flag of records and forgets their salts';

CREATE OR REPLACE FUNCTION architect._audit_mark_records(transactions xid8[], ids bigint[], flag integer)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    sorted record;
    chunk record;
    changed record;
    counts jsonb := '{}';
BEGIN
    SELECT array_agg(given.transaction_id ORDER BY given.transaction_id, given.id) AS transactions,
           array_agg(given.id ORDER BY given.transaction_id, given.id) AS ids,
           count(*) AS count
    INTO sorted
    FROM unnest(transactions, ids) AS given (transaction_id, id);

    FOR chunk IN
        SELECT records.seal, records.chunk, records.data
        FROM architect.audit_seal_rows AS records
        WHERE (records.first_transaction, records.first_id)
                  <= (sorted.transactions[sorted.count], sorted.ids[sorted.count])
          AND (records.last_transaction, records.last_id) >= (sorted.transactions[1], sorted.ids[1])
          -- A few rows may be far apart.
          AND (sorted.count > 1000
               OR EXISTS (SELECT FROM unnest(transactions, ids) AS given (transaction_id, id)
                          WHERE (given.transaction_id, given.id)
                                    >= (records.first_transaction, records.first_id)
                            AND (given.transaction_id, given.id)
                                    <= (records.last_transaction, records.last_id)))
        ORDER BY records.seal, records.chunk
    LOOP
        changed := architect._audit_seal_mark(chunk.data, sorted.transactions, sorted.ids, flag);
        CONTINUE WHEN changed.marked = 0;
        UPDATE architect.audit_seal_rows AS records
        SET data = changed.marked_data
        WHERE records.seal = chunk.seal AND records.chunk = chunk.chunk;
        counts := counts || jsonb_build_object(
            chunk.seal, coalesce((counts ->> chunk.seal::text)::bigint, 0) + changed.marked);
    END LOOP;
    RETURN counts;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_mark_records(xid8[], bigint[], integer) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_mark_records(xid8[], bigint[], integer) IS
    'sets a flag in the records of these log rows and forgets their salts; how many records, by seal';

CREATE OR REPLACE FUNCTION architect._audit_forget_rows(transactions xid8[], ids bigint[])
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NOT architect._audit_lock_seals() THEN
        RETURN '{}';
    END IF;
    UPDATE architect.audit_seal_erasures AS erased
    SET salt = NULL
    WHERE erased.log_id = ANY (ids) AND erased.salt IS NOT NULL;
    RETURN architect._audit_mark_records(transactions, ids, 2);
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_forget_rows(xid8[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_forget_rows(xid8[], bigint[]) IS
    'prepares the seals for the removal of these log rows; how many of them each seal has';

CREATE OR REPLACE FUNCTION architect._audit_forget_partition(part regclass)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    batch record;
    counts jsonb := '{}';
BEGIN
    FOR batch IN EXECUTE format(
        $$SELECT array_agg(numbered.transaction_id) AS transactions, array_agg(numbered.id) AS ids
          FROM (SELECT log.transaction_id, log.id,
                       (row_number() OVER (ORDER BY log.transaction_id, log.id) - 1) / 100000 AS batch
                FROM %s AS log
                WHERE log.operation = ANY (architect._audit_removable())) AS numbered
          GROUP BY numbered.batch$$, part)
    LOOP
        SELECT jsonb_object_agg(sum.seal, sum.rows)
        INTO counts
        FROM (SELECT entry.key AS seal, sum(entry.value::bigint) AS rows
              FROM (SELECT * FROM jsonb_each_text(counts)
                    UNION ALL
                    SELECT * FROM jsonb_each_text(architect._audit_forget_rows(batch.transactions, batch.ids))) AS entry
              GROUP BY entry.key) AS sum;
        counts := coalesce(counts, '{}');
    END LOOP;
    RETURN counts;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_forget_partition(regclass) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_forget_partition(regclass) IS
    'prepares the seals for a partition of the log to be dropped, but for rows that have to stay';
