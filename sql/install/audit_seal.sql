-- audit: seals over the log.

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
