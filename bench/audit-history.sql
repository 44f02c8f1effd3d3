-- A log of a year for the audit_history benchmark: ten versions of each record, in order of time,
-- as if ours.orders had been audited while a tenth of :rows orders came, and each then changed
-- nine times.  It is written into the log directly.
\set ON_ERROR_STOP 1
SET timezone = 'UTC';

CREATE ROLE shop LOGIN;
GRANT USAGE ON SCHEMA ours, recipe TO shop;
ALTER TABLE ours.orders OWNER TO shop;
SELECT architect.audit_enable('ours.orders');
SELECT count(architect._audit_make_partition(month, month + interval '1 month')) AS partitions
FROM generate_series(date_trunc('month', now()) - interval '11 months', date_trunc('month', now()) - interval '1 month',
                     '1 month') AS month;

SELECT date_trunc('month', now()) - interval '11 months' AS start, :rows / 10 AS records,
       nextval('architect.audit_log_id_seq') AS base \gset
UPDATE architect.audit_tables SET registered_at = :'start';
UPDATE architect.audit_shapes SET changed_at = :'start';

INSERT INTO architect.audit_log (id, changed_at, transaction_id, table_id, operation, table_schema, table_name, record_id,
                                 changed_by, session_role, old_values, new_values)
SELECT :base + n, start + n * ((now() - start) / :rows), (1000 + n / 10)::text::xid8, table_id,
       CASE version WHEN 0 THEN 'INSERT' ELSE 'UPDATE' END, 'ours', 'orders', record::text, 'alice', 'shop',
       CASE WHEN version > 0 THEN jsonb_build_object(
           'status', (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + (record + version - 1) % 4],
           'total', (record % 100000) / 100.0 + version - 1) END,
       CASE version WHEN 0 THEN to_jsonb(source) ELSE jsonb_build_object(
           'status', (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + (record + version) % 4],
           'total', (record % 100000) / 100.0 + version) END
FROM architect.audit_tables, CAST(:'start' AS timestamptz) AS start,
     generate_series(1, :rows) AS n,
     LATERAL (SELECT n::bigint * 7919 % :records + 1 AS record, (n - 1) / :records AS version) AS step,
     LATERAL (SELECT record AS id, record * 7 % 10000 AS customer_id,
                     (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + record % 4] AS status,
                     (record % 100000) / 100.0 AS total, 'order number ' || record AS note,
                     timestamptz '2026-01-01 00:00Z' + record * interval '1 second' AS created_at,
                     record % 10 <> 0 AS active,
                     jsonb_build_object('sku', 'A-' || record % 1000, 'quantity', record % 9,
                                        'gift', record % 5 = 0) AS details) AS source;
SELECT setval('architect.audit_log_id_seq', :base + :rows) \gset

SET session_replication_role = replica;
INSERT INTO ours.orders
SELECT id, customer_id, (ARRAY['new', 'paid', 'shipped', 'closed'])[1 + (id + 9) % 4], total + 9, note, created_at, active,
       details
FROM source;
RESET session_replication_role;

-- The same rows in the one table of a recipe.
DROP INDEX recipe.audit_log_table_name_record_id_idx;
INSERT INTO recipe.audit_log
SELECT id, table_name, record_id, operation, old_values, new_values, changed_by, changed_at
FROM architect.audit_log ORDER BY changed_at;
CREATE INDEX ON recipe.audit_log (table_name, record_id);
GRANT SELECT ON recipe.audit_log TO shop;
VACUUM ANALYZE;
