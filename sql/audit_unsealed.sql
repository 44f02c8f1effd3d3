-- Retention beside seals: nothing goes before it is sealed, and what went is accounted for.

CREATE EXTENSION pg_architect;
CREATE SCHEMA audit_unsealed;
SET search_path = audit_unsealed;
CREATE TABLE short (id integer PRIMARY KEY);
CREATE TABLE long (id integer PRIMARY KEY);
SELECT architect.audit_enable('short'), architect.audit_enable('long');
SELECT architect.audit_retain('short', '1 year'), architect.audit_hold('short', 'case 17'), architect.audit_release('short');
INSERT INTO short SELECT generate_series(1, 5);
INSERT INTO long SELECT generate_series(1, 7);
SELECT architect._audit_make_partition('2001-02-01 UTC', '2001-03-01 UTC');
UPDATE architect.audit_log SET changed_at = '2001-02-03' WHERE operation <> 'RETAIN';
SELECT architect.audit_seal();

-- Rows go one by one.
SELECT architect.audit_maintain();
SELECT table_name, operation, count(*) FROM architect.audit_log WHERE changed_at < '2002-01-01' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT context - 'before' AS context FROM architect.audit_log WHERE context ? 'rows' ORDER BY id;
SELECT * FROM architect.audit_verify_seals();
-- The whole partition goes, and what the log says of itself stays.
SELECT architect.audit_retain('long', '2 years');
SELECT architect.audit_maintain();
SELECT table_name, operation, tableoid::regclass AS in FROM architect.audit_log WHERE changed_at < '2002-01-01' ORDER BY id;
SELECT table_name, context - 'before' AS context FROM architect.audit_log WHERE context ? 'rows' ORDER BY id;
SELECT * FROM architect.audit_verify_seals();
SELECT architect.audit_seal();
SELECT * FROM architect.audit_verify_seals();

-- What was logged after the last seal waits for the next.
SELECT architect.audit_retain('short', '1 microsecond');
INSERT INTO short VALUES (11);
SELECT architect.audit_maintain();
SELECT record_id FROM architect.audit_log WHERE operation = 'INSERT';
SELECT architect.audit_seal();
SELECT architect.audit_maintain();
SELECT record_id FROM architect.audit_log WHERE operation = 'INSERT';
SELECT * FROM architect.audit_verify_seals();

SET client_min_messages = warning;
DROP SCHEMA audit_unsealed CASCADE;
DROP EXTENSION pg_architect CASCADE;
