-- audit: values of a record taken out of the log.

CREATE OR REPLACE FUNCTION architect._audit_erase_values(image jsonb, columns text[])
    RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_audit_erase_values';
REVOKE ALL ON FUNCTION architect._audit_erase_values(jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_erase_values(jsonb, text[]) IS
    'old_values or new_values without the values of these columns';

CREATE OR REPLACE FUNCTION architect._audit_erase_context(context jsonb, columns text[])
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- The row before an UPDATE, where the key is deferrable.
    SELECT CASE WHEN jsonb_typeof(context -> 'updated_row') = 'object'
                    THEN jsonb_set(context, '{updated_row}',
                                   architect._audit_erase_values(context -> 'updated_row', columns))
                ELSE context
           END
$function$;
REVOKE ALL ON FUNCTION architect._audit_erase_context(jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_erase_context(jsonb, text[]) IS
    'context without the values that it has of these columns';

CREATE OR REPLACE FUNCTION architect._audit_logged_names(number integer, columns text[], present text[])
    RETURNS TABLE (after_id bigint, until_id bigint, names text[])
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH known AS MATERIALIZED (
        SELECT logged.shape_id, logged.name, logged.present_name
        FROM architect.audit_columns AS logged
        WHERE logged.table_id = number
    ), span AS (
        SELECT shape.shape_id, shape.log_id AS after_id,
               lead(shape.log_id, 1, 9223372036854775807) OVER (ORDER BY shape.shape_id) AS until_id
        FROM architect.audit_shapes AS shape
        WHERE shape.table_id = number
        UNION ALL
        SELECT NULL, -1, coalesce(min(shape.log_id), 9223372036854775807)
        FROM architect.audit_shapes AS shape
        WHERE shape.table_id = number
    )
    SELECT span.after_id, span.until_id,
           ARRAY(SELECT known.name
                 FROM known
                 WHERE known.shape_id = span.shape_id
                   AND known.present_name = ANY (present)
                 UNION
                 -- Whatever had the name, unless it is another column of the table by now.
                 SELECT asked.name
                 FROM unnest(columns) AS asked (name)
                 WHERE NOT EXISTS (SELECT FROM known
                                   WHERE known.shape_id = span.shape_id
                                     AND known.name = asked.name
                                     AND known.present_name <> asked.name
                                     AND asked.name = ANY (present)))
    FROM span
    WHERE span.after_id < span.until_id
$function$;
REVOKE ALL ON FUNCTION architect._audit_logged_names(integer, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_logged_names(integer, text[], text[]) IS
    'what these columns, of which the table has some at present, are called in log rows of which ids';

CREATE OR REPLACE FUNCTION architect._audit_sealed_rows(transactions xid8[], ids bigint[])
    RETURNS TABLE (transaction_id xid8, log_id bigint, flags integer, salt bytea, leaf bytea)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT record.transaction_id, record.log_id, record.flags, record.salt, record.leaf
    FROM architect.audit_seal_rows AS records
    CROSS JOIN LATERAL architect._audit_seal_records(records.data) AS record
    JOIN unnest(transactions, ids) AS given (transaction_id, log_id)
      ON given.transaction_id = record.transaction_id AND given.log_id = record.log_id
    WHERE EXISTS (SELECT FROM unnest(transactions, ids) AS needed (transaction_id, log_id)
                  WHERE (needed.transaction_id, needed.log_id) >= (records.first_transaction, records.first_id)
                    AND (needed.transaction_id, needed.log_id) <= (records.last_transaction, records.last_id))
$function$;
REVOKE ALL ON FUNCTION architect._audit_sealed_rows(xid8[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_sealed_rows(xid8[], bigint[]) IS
    'records of these log rows, one for each seal that a row is in';

CREATE OR REPLACE FUNCTION architect._audit_spoiled_rows(
        number integer, record_ids text[], transactions xid8[], ids bigint[])
    RETURNS bigint[]
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(DISTINCT log.id), '{}')
    FROM architect.audit_log AS log
    JOIN architect._audit_sealed_rows(transactions, ids) AS sealed
      ON sealed.transaction_id = log.transaction_id AND sealed.log_id = log.id
    LEFT JOIN LATERAL (SELECT erased.salt, erased.leaf
                       FROM architect.audit_seal_erasures AS erased
                       WHERE erased.log_id = log.id
                       ORDER BY erased.erase_id DESC
                       LIMIT 1) AS latest ON sealed.flags & 1 <> 0
    WHERE log.table_id = number
      AND log.record_id = ANY (record_ids)
      AND log.id = ANY (ids)
      AND (sealed.flags & 6 <> 0
           OR CASE WHEN sealed.flags & 1 <> 0
                       THEN architect._audit_seal_leaf(latest.salt, log) IS DISTINCT FROM latest.leaf
                   ELSE architect._audit_seal_leaf(sealed.salt, log) <> sealed.leaf
              END)
$function$;
REVOKE ALL ON FUNCTION architect._audit_spoiled_rows(integer, text[], xid8[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_spoiled_rows(integer, text[], xid8[], bigint[]) IS
    'sealed log rows that are not what was sealed, before they are erased';

CREATE OR REPLACE FUNCTION architect._audit_unseal_rows(
        number integer, record_ids text[], transactions xid8[], ids bigint[])
    RETURNS bigint[]
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    sealed bigint[];
    spoiled bigint[];
BEGIN
    SELECT coalesce(array_agg(DISTINCT found.log_id), '{}')
    INTO sealed
    FROM architect._audit_sealed_rows(transactions, ids) AS found;
    SELECT architect._audit_spoiled_rows(number, record_ids, transactions, ids) INTO spoiled;

    PERFORM architect._audit_mark_records(array_agg(given.transaction_id), array_agg(given.id), 1 + given.spoiled)
    FROM (SELECT part.transaction_id, part.id, CASE WHEN part.id = ANY (spoiled) THEN 4 ELSE 0 END AS spoiled
          FROM unnest(transactions, ids) AS part (transaction_id, id)
          WHERE part.id = ANY (sealed)) AS given
    GROUP BY given.spoiled;
    UPDATE architect.audit_seal_erasures AS erased
    SET salt = NULL
    WHERE erased.log_id = ANY (sealed);
    RETURN ARRAY(SELECT part.id FROM unnest(sealed) AS part (id) WHERE part.id <> ALL (spoiled));
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_unseal_rows(integer, text[], xid8[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_unseal_rows(integer, text[], xid8[], bigint[]) IS
    'forgets the salts of log rows that are about to be erased; those that need new ones';

CREATE OR REPLACE FUNCTION architect._audit_erase(
        number integer, record_id text, columns text[], present text[], record_ids text[], ids bigint[])
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    doomed record;
    -- The seals before the log, as all do who need both.
    sealed boolean := architect._audit_lock_seals();
    resealed bigint[] := '{}';
    made record;
    said jsonb;
    note bigint;
BEGIN
    LOCK TABLE architect.audit_log IN ROW EXCLUSIVE MODE;
    SELECT array_agg(log.transaction_id) AS transactions, array_agg(log.id) AS ids
    INTO doomed
    FROM architect.audit_log AS log
    JOIN architect._audit_logged_names(number, columns, present) AS logged
      ON log.id > logged.after_id AND log.id <= logged.until_id
    WHERE log.table_id = number
      AND log.record_id = ANY (record_ids)
      AND log.id = ANY (ids)
      AND (architect._audit_erase_values(log.old_values, logged.names) <> log.old_values
           OR architect._audit_erase_values(log.new_values, logged.names) <> log.new_values
           OR architect._audit_erase_context(log.context, logged.names) <> log.context);
    IF doomed.ids IS NULL THEN
        RAISE NOTICE 'the log has no such values of record "%"', record_id;
        RETURN 0;
    END IF;

    IF sealed THEN
        SELECT architect._audit_unseal_rows(number, record_ids, doomed.transactions, doomed.ids) INTO resealed;
    END IF;
    WITH changed AS (
        UPDATE architect.audit_log AS log
        SET old_values = architect._audit_erase_values(log.old_values, logged.names),
            new_values = architect._audit_erase_values(log.new_values, logged.names),
            context = architect._audit_erase_context(log.context, logged.names)
        FROM architect._audit_logged_names(number, columns, present) AS logged
        WHERE log.id > logged.after_id AND log.id <= logged.until_id
          AND log.id = ANY (doomed.ids)
          AND log.table_id = number
          AND log.record_id = ANY (record_ids)
        RETURNING log.*
    ), salted AS MATERIALIZED (
        SELECT changed.id, changed AS entry, uuid_send(gen_random_uuid()) AS salt
        FROM changed
        WHERE changed.id = ANY (resealed)
    )
    SELECT (SELECT count(*) FROM changed) AS rows,
           array_agg(salted.id) AS ids,
           array_agg(salted.salt) AS salts,
           array_agg(architect._audit_seal_leaf(salted.salt, salted.entry)) AS leaves
    INTO made
    FROM salted;

    said := jsonb_build_object('columns', columns, 'rows', made.rows);
    IF made.ids IS NOT NULL THEN
        said := said || jsonb_build_object('digest', architect._audit_erase_digest(made.ids, made.leaves));
    END IF;
    note := architect._audit_note(number, 'ERASE', record_id, said);
    IF made.ids IS NOT NULL THEN
        INSERT INTO architect.audit_seal_erasures (log_id, erase_id, erase_transaction, salt, leaf)
        SELECT part.id, note, pg_current_xact_id(), part.salt, part.leaf
        FROM unnest(made.ids, made.salts, made.leaves) AS part (id, salt, leaf);
    END IF;
    RETURN made.rows;
END
$function$;
REVOKE ALL ON FUNCTION architect._audit_erase(integer, text, text[], text[], text[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._audit_erase(integer, text, text[], text[], text[], bigint[]) IS
    'what audit_erase does, with the rights of the extension''s owner';

CREATE OR REPLACE FUNCTION architect.audit_erase(target regclass, record_id text, columns name[])
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'architect_audit_erase';
COMMENT ON FUNCTION architect.audit_erase(regclass, text, name[]) IS
'take the values of a record''s columns out of the log, and keep that there were changes; for the table''s owner
SELECT architect.audit_erase(''public.orders'', ''42'', ''{updated_at}'');';
