-- What retention removed is not shown as if nothing had been there.

CREATE EXTENSION pg_architect;
CREATE SCHEMA audit_removed;
SET search_path = audit_removed;
CREATE TABLE item (id integer PRIMARY KEY, state text);
SELECT architect.audit_enable('item');
CREATE FUNCTION shown(at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    reason text;
BEGIN
    RETURN (SELECT count(*) FROM architect.audit_as_of(NULL::audit_removed.item, at));
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
        RETURN reason;
END
$$;
SELECT architect.audit_retain('item', '1 microsecond');
INSERT INTO item VALUES (9);
SELECT clock_timestamp() AS between \gset
INSERT INTO item VALUES (10);
SELECT shown(:'between');
SELECT architect.audit_maintain();
SELECT shown(:'between'), shown(clock_timestamp());

-- A record's history says that it begins in the middle.
UPDATE item SET state = 'new' WHERE id = 9;
SELECT version, operation, record, complete FROM architect.audit_history('item', '9');

SET client_min_messages = warning;
DROP SCHEMA audit_removed CASCADE;
DROP EXTENSION pg_architect CASCADE;
