# Large statements are captured whole, each change once, in order, and without memory
# that grows with them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_buffers = 16MB
max_wal_size = 4GB
autovacuum = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE plain (id int PRIMARY KEY, v int, note text);
CREATE TABLE audited (LIKE plain INCLUDING ALL);
SELECT architect.audit_enable('audited');
SQL

# ---------------------------------------------------------------- one statement, many rows

my $rows = 300_000;

# Returns the most memory, in kB, that a session took for one statement of each kind.
sub work_on
{
	my ($table) = @_;
	return $node->safe_psql('postgres', <<"SQL");
INSERT INTO $table SELECT i, i % 7, md5(i::text) FROM generate_series(1, $rows) AS i;
UPDATE $table SET v = v + 1;
DELETE FROM $table;
SELECT CASE WHEN (pg_stat_file('/proc/self/status', true)).size IS NOT NULL
            THEN substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+) kB') END;
SQL
}

my $memory = work_on('plain');
my $audited_memory = work_on('audited');

is( $node->safe_psql('postgres', <<'SQL'), <<"COUNTS" =~ s/\n\z//r, 'every row of a large statement is captured once');
SELECT operation, count(*), count(DISTINCT record_id), count(DISTINCT transaction_id), min(record_id::int), max(record_id::int)
FROM architect.audit_log
GROUP BY operation
ORDER BY min(id)
SQL
INSERT|$rows|$rows|1|1|$rows
UPDATE|$rows|$rows|1|1|$rows
DELETE|$rows|$rows|1|1|$rows
COUNTS
is( $node->safe_psql('postgres', <<'SQL'), '0', 'every log row has the values of its row');
SELECT count(*)
FROM architect.audit_log
CROSS JOIN LATERAL (SELECT record_id::int % 7 AS v, md5(record_id) AS note) AS given
WHERE CASE operation
          WHEN 'INSERT' THEN old_values IS NOT NULL OR new_values <> jsonb_build_object('id', record_id::int, 'v', v, 'note', note)
          WHEN 'UPDATE' THEN old_values <> jsonb_build_object('v', v) OR new_values <> jsonb_build_object('v', v + 1)
          ELSE new_values IS NOT NULL OR old_values <> jsonb_build_object('id', record_id::int, 'v', v + 1, 'note', note)
      END
SQL

# A million rows may take 150 MB more than without audit.
SKIP:
{
	skip 'the memory of a process cannot be seen here', 1 if $memory eq '';
	my $bound = 150 * 1024 * $rows / 1_000_000;
	note("memory: $memory kB, audited: $audited_memory kB");
	cmp_ok($audited_memory - $memory, '<', $bound, 'the audit of a large statement takes little memory');
}

# ---------------------------------------------------------------- rows of all sizes

$node->safe_psql('postgres', <<'SQL');
TRUNCATE architect.audit_log;
CREATE TABLE docs (id int PRIMARY KEY, doc text, v int);
SELECT architect.audit_enable('docs', capture => 'full');
INSERT INTO docs
SELECT i, repeat(md5(i::text), CASE WHEN i % 100 = 0 THEN 50000 WHEN i % 10 = 0 THEN 500 ELSE i % 3 END), 0
FROM generate_series(1, 1500) AS i;
UPDATE docs SET v = 1, doc = doc || 'x' WHERE id % 2 = 0;
SQL
is( $node->safe_psql('postgres', <<'SQL'), "INSERT|1500|t|15\nUPDATE|750|t|15", 'batches of small and large rows are captured exactly');
SELECT operation, count(*),
       bool_and(log.new_values ->> 'doc' = docs.doc || CASE WHEN operation = 'INSERT' AND docs.v = 1 THEN NULL ELSE '' END
                OR operation = 'INSERT' AND log.new_values ->> 'doc' || 'x' = docs.doc
                OR operation = 'INSERT' AND docs.v = 0 AND log.new_values ->> 'doc' = docs.doc)
       AND bool_and(operation = 'INSERT' OR log.old_values ->> 'doc' || 'x' = docs.doc),
       count(*) FILTER (WHERE length(log.new_values ->> 'doc') > 1000000)
FROM architect.audit_log AS log
JOIN docs ON docs.id = log.record_id::int
GROUP BY operation
ORDER BY operation
SQL

# ---------------------------------------------------------------- triggers within triggers

# An order books a line, a line books stock, in blocks with an exception handler; some
# fail, early or late.  What failed leaves nothing, the rest is whole.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE architect.audit_log;
CREATE TABLE orders (id int PRIMARY KEY, v int);
CREATE TABLE lines (id int PRIMARY KEY, v int);
CREATE TABLE stock (id int PRIMARY KEY, v int);
SELECT architect.audit_enable(t) FROM unnest('{orders,lines,stock}'::regclass[]) AS t;
CREATE FUNCTION book_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO lines VALUES (NEW.id, NEW.v);
        IF NEW.id % 10 = 0 THEN
            RAISE division_by_zero;
        END IF;
    EXCEPTION WHEN division_by_zero THEN
        INSERT INTO lines VALUES (-NEW.id, NEW.v);
    END;
    RETURN NULL;
END $$;
CREATE FUNCTION book_stock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        IF NEW.id % 7 = 0 THEN
            RAISE division_by_zero;
        END IF;
        INSERT INTO stock SELECT NEW.id * 10 + i, NEW.v FROM generate_series(1, 3) AS i;
        IF NEW.id % 11 = 0 THEN
            RAISE division_by_zero;
        END IF;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    RETURN NULL;
END $$;
CREATE TRIGGER then_line AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION book_line();
CREATE TRIGGER then_stock AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION book_stock();
INSERT INTO orders SELECT i, 0 FROM generate_series(1, 3500) AS i;
SQL
foreach my $table (qw(orders lines stock))
{
	is( $node->safe_psql('postgres', <<"SQL"), 't|t', "triggers within triggers: the log has $table as it is");
SELECT count(*) > 3000, bool_and(logged.number IS NOT DISTINCT FROM 1 AND $table.id IS NOT NULL)
FROM $table
FULL JOIN (SELECT record_id::int AS id, count(*) AS number
           FROM architect.audit_log WHERE table_name = '$table' GROUP BY 1) AS logged ON logged.id = $table.id
SQL
}

# A record that a trigger changes again, in a block of its own or not, has its changes in
# the order in which they were made.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE architect.audit_log;
CREATE TABLE steps (id int PRIMARY KEY, n int);
SELECT architect.audit_enable('steps');
CREATE FUNCTION next_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.n % 10 = 5 THEN
        RETURN NULL;
    ELSIF NEW.n % 2 = 0 THEN
        UPDATE steps SET n = n + 1 WHERE id = NEW.id;
    ELSE
        BEGIN
            UPDATE steps SET n = n + 1 WHERE id = NEW.id;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER then_next AFTER INSERT OR UPDATE ON steps FOR EACH ROW EXECUTE FUNCTION next_step();
INSERT INTO steps SELECT i, 0 FROM generate_series(1, 400) AS i;
UPDATE steps SET n = 11;
SQL
is( $node->safe_psql('postgres', <<'SQL'), '0->1 1->2 2->3 3->4 4->5 5->11 11->12 12->13 13->14 14->15|400', 'changes of one record are in order');
SELECT history, count(*)
FROM (SELECT string_agg((old_values ->> 'n') || '->' || (new_values ->> 'n'), ' ' ORDER BY id) AS history
      FROM architect.audit_log
      WHERE table_name = 'steps'
      GROUP BY record_id) AS record
GROUP BY history
SQL

# The same where the trigger stands on another table that the statement writes.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE architect.audit_log;
CREATE TABLE pages (id int PRIMARY KEY, n int);
CREATE TABLE visits (page int);
SELECT architect.audit_enable('pages');
CREATE FUNCTION visit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pages SET n = n + 1 WHERE id = NEW.page;
    RETURN NULL;
EXCEPTION WHEN division_by_zero THEN
    RETURN NULL;
END $$;
CREATE TRIGGER then_visit AFTER INSERT ON visits FOR EACH ROW EXECUTE FUNCTION visit();
INSERT INTO pages SELECT i, 0 FROM generate_series(1, 1400) AS i;
WITH page AS (UPDATE pages SET n = n + 1 RETURNING id) INSERT INTO visits SELECT id FROM page;
SQL
is( $node->safe_psql('postgres', <<'SQL'), '0->1 1->2|1400', 'changes of one record are in order across the tables of a statement');
SELECT history, count(*)
FROM (SELECT string_agg((old_values ->> 'n') || '->' || (new_values ->> 'n'), ' ' ORDER BY id) AS history
      FROM architect.audit_log
      GROUP BY record_id) AS record
GROUP BY history
SQL

# Changes that are undone over and over within one transaction, because something else in
# the statement fails, leave nothing and take no memory.
is( $node->safe_psql('postgres', <<'SQL') =~ s/^\n+//r, "t\n0", 'changes that are undone take no memory');
CREATE TABLE undone (id int PRIMARY KEY, doc text);
CREATE TABLE refused (id int PRIMARY KEY, doc text);
SELECT FROM architect.audit_enable('undone');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
CREATE TRIGGER then_refuse AFTER INSERT ON refused FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN;
DO $$
BEGIN
    FOR i IN 1..3000 LOOP
        BEGIN
            WITH beside AS (INSERT INTO undone VALUES (i, repeat('x', 5000)) RETURNING *)
            INSERT INTO refused SELECT * FROM beside;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT sum(total_bytes) < 4 * 1024 * 1024 FROM pg_backend_memory_contexts WHERE name LIKE 'architect%';
COMMIT;
SELECT count(*) FROM architect.audit_log WHERE table_name = 'undone';
SQL

$node->stop;
done_testing();
