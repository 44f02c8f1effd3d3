-- What the log takes, as audit_status shows it: to each owner that of their tables.

SET intervalstyle = 'postgres';
CREATE EXTENSION pg_architect;
CREATE ROLE regress_size_owner;
CREATE ROLE regress_size_other;
CREATE SCHEMA audit_size AUTHORIZATION regress_size_owner;
CREATE SCHEMA audit_size_other AUTHORIZATION regress_size_other;
SET SESSION AUTHORIZATION regress_size_other;
CREATE TABLE audit_size_other.secret (id integer PRIMARY KEY);
SELECT architect.audit_enable('audit_size_other.secret'), architect.audit_hold('audit_size_other.secret', 'secret');
INSERT INTO audit_size_other.secret SELECT generate_series(1, 100);
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION regress_size_owner;
CREATE TABLE audit_size.small (id integer PRIMARY KEY, note text);
CREATE TABLE audit_size.large (id integer PRIMARY KEY, note text);
CREATE TABLE audit_size.idle (id integer PRIMARY KEY);
-- Where nothing is theirs, there is nothing to show.
SELECT * FROM architect.audit_sizes();
SELECT architect.audit_enable(t) FROM unnest('{audit_size.small,audit_size.large,audit_size.idle}'::regclass[]) AS t;
SELECT relation, keep, hold, log_bytes, growth_per_day, oldest, default_rows
FROM architect.audit_status
WHERE relation::text LIKE 'audit_size.%'
ORDER BY 1;
INSERT INTO audit_size.small SELECT n, 'note' FROM generate_series(1, 100) AS n;
INSERT INTO audit_size.large SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 1000) AS n;
SELECT architect.audit_retain('audit_size.small', '2 years'), architect.audit_hold('audit_size.large', 'case 17');
-- Each owner sees their own.
SELECT relation, keep, hold, log_bytes > 0 AS takes, growth_per_day = log_bytes AS of_today,
       oldest = (SELECT min(log.changed_at) FROM architect.audit_log AS log WHERE log.table_id = status.table_id) AS oldest,
       default_rows
FROM architect.audit_status AS status
ORDER BY relation::text COLLATE "C";
SELECT count(*) AS mine FROM architect.audit_sizes();
RESET SESSION AUTHORIZATION;

-- The superuser sees all.  The estimate is not far off, and that for the large table is larger.
SELECT relation, keep, hold, oldest IS NOT NULL AS known FROM architect.audit_status ORDER BY relation::text COLLATE "C";
SELECT sum(log_bytes) BETWEEN 0.5 * taken.bytes AND 1.5 * taken.bytes AS near
FROM architect.audit_status
CROSS JOIN (SELECT sum(pg_total_relation_size(relid)) AS bytes
            FROM pg_partition_tree('architect.audit_log')
            WHERE EXISTS (SELECT FROM architect.audit_log WHERE tableoid = relid)) AS taken
GROUP BY taken.bytes;
SELECT large.log_bytes > 10 * small.log_bytes AS larger
FROM architect.audit_status AS large, architect.audit_status AS small
WHERE large.relation = 'audit_size.large'::regclass AND small.relation = 'audit_size.small'::regclass;

-- What is older than a week is growth no more; what is in no partition of its own is seen.
UPDATE architect.audit_log SET changed_at = '2001-02-03' WHERE table_name = 'large';
SELECT log_bytes > 0 AS takes, growth_per_day, extract(year FROM oldest) AS oldest, default_rows
FROM architect.audit_status
WHERE relation = 'audit_size.large'::regclass;
-- What retention removed is no longer there, though what the log says of itself is.
SELECT architect.audit_release('audit_size.large'), architect.audit_retain('audit_size.large', '1 year');
UPDATE architect.audit_log SET changed_at = '2001-02-02' WHERE operation IN ('HOLD', 'RELEASE') AND table_name = 'large';
SELECT architect.audit_maintain();
SELECT log_bytes < 2000 AS takes_little, oldest > now() - interval '1 hour' AS oldest, default_rows
FROM architect.audit_status
WHERE relation = 'audit_size.large'::regclass;

-- A large log is looked at in part: its estimates are near, its oldest row is found from where there can be one.
INSERT INTO audit_size.large SELECT n, repeat(md5(n::text), 10) FROM generate_series(1001, 12000) AS n;
SELECT pg_relation_size(tableoid) > 256 * 8192 AS large FROM architect.audit_log WHERE record_id = '12000';
SELECT log_bytes BETWEEN 0.5 * taken.bytes AND 1.5 * taken.bytes AS near,
       growth_per_day BETWEEN 0.5 * taken.bytes AND 1.5 * taken.bytes AS growth_near,
       oldest > now() - interval '1 hour' AS oldest
FROM architect.audit_status
CROSS JOIN (SELECT sum(pg_total_relation_size(relid)) AS bytes FROM pg_partition_tree('architect.audit_log')) AS taken
WHERE relation = 'audit_size.large'::regclass;
SELECT oldest = registered_at AS bound
FROM architect.audit_sizes() JOIN architect.audit_tables USING (table_id)
WHERE relation = 'audit_size.idle'::regclass;

SET client_min_messages = warning;
DROP SCHEMA audit_size, audit_size_other CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_size_owner, regress_size_other;
