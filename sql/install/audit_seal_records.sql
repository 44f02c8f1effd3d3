-- audit: records of sealed log rows, and how they forget what is erased or removed.

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
