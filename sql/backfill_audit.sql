-- What a backfill changes is logged under its job, and triggers can tell it by a setting
-- that only a backfill, or the administrator, sets.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_backfill_owner;
CREATE SCHEMA backfill_audit AUTHORIZATION regress_backfill_owner;
SET SESSION AUTHORIZATION regress_backfill_owner;
SET search_path = backfill_audit;
SET client_min_messages = warning;
CREATE TABLE item (id integer PRIMARY KEY, v integer CHECK (v < 50), n integer NOT NULL DEFAULT 0);
INSERT INTO item SELECT generate_series(1, 6);
SELECT architect.audit_enable('item');
CREATE TABLE told (id integer, job text, was integer);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backfill_audit.told VALUES (NEW.id, current_setting('architect.backfill_job', true), OLD.v);
    RETURN NULL;
END
$$;
CREATE TRIGGER tell AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tell();
CREATE VIEW changes AS
    SELECT record_id, operation, changed_by = session_user AS by_session, new_values, context FROM architect.audit_log;

UPDATE item SET v = 0 WHERE id = 1;
CALL architect.backfill('item', set => 'v = id * 10', filter => 'v IS NULL', on_error => 'skip');
UPDATE item SET v = 0 WHERE id = 2;
SELECT * FROM changes WHERE operation = 'UPDATE' ORDER BY record_id, context::text NULLS LAST;
SELECT * FROM told ORDER BY id, job;
SELECT record_id, sqlstate FROM architect.backfill_rejects ORDER BY record_id;

-- In the transaction that retries, what else is done is not the job's.
TRUNCATE told;
ALTER TABLE item DROP CONSTRAINT item_v_check;
BEGIN;
UPDATE item SET n = 1 WHERE id = 1;
SELECT architect.backfill_retry(job) FROM architect.backfill_jobs;
UPDATE item SET n = 1 WHERE id = 2;
COMMIT;
SELECT record_id, new_values, context FROM changes WHERE record_id IN ('1', '2', '5', '6') AND operation = 'UPDATE' ORDER BY record_id, new_values::text;
SELECT * FROM told ORDER BY id;
SHOW architect.backfill_job;

-- In key order, and beside what the application says itself, which cannot be that.
CALL architect.backfill('item', set => 'n = n + 1');
SELECT context, count(*) FROM changes WHERE new_values ? 'n' AND operation = 'UPDATE' GROUP BY context ORDER BY context::text NULLS LAST;
BEGIN;
SELECT architect.audit_set_actor(NULL, '{"backfill_job": 9, "request": "r-1"}');
UPDATE item SET n = 7 WHERE id = 3;
COMMIT;
SELECT context FROM changes WHERE new_values @> '{"n": 7}';
-- fails: it is not for everybody to set
SET architect.backfill_job = '1';
-- fails: in no way
SELECT set_config('architect.backfill_job', '1', true);

-- History and undo know these changes like all others.
SELECT version, operation, record ->> 'v' AS v, record ->> 'n' AS n FROM architect.audit_history('item', '6') ORDER BY version;

RESET SESSION AUTHORIZATION;
DROP SCHEMA backfill_audit CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_backfill_owner;
