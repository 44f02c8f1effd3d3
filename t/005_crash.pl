# After a crash the log has exactly the changes that were committed, those of prepared
# transactions included, and it is sound down to its pages.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 5
autovacuum = off
CONF
$node->start;

# Each change of a record is a step up in n, so that the log tells whether it has all.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE records (id int PRIMARY KEY, n int NOT NULL, doc text);
ALTER TABLE records ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE other (id int PRIMARY KEY, v text);
SELECT architect.audit_enable('records', capture => 'full');
SELECT architect.audit_enable('other');

-- A change that a deferred trigger makes at the end of a transaction.
CREATE TABLE late (id int PRIMARY KEY);
SELECT architect.audit_enable('late');
CREATE FUNCTION be_late() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO late VALUES (NEW.id); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER then_late AFTER INSERT ON other DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id % 2 = 0) EXECUTE FUNCTION be_late();
SQL

# Starts a session that stays open, runs the script and waits for its last answer.
sub open_session
{
	my ($sql) = @_;
	my %session = (in => "$sql\nSELECT 'here it is';\n", out => '', err => '');

	$session{timer} = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
	$session{run} = IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', '-', '-d', $node->connstr('postgres') ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, $session{timer});
	$session{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	ok(pump_until($session{run}, $session{timer}, \$session{out}, qr/here it is/), 'a session is in the middle of its work')
	  or diag $session{err};
	return \%session;
}

# Changes that differ in how their log rows are stored: one by one, in batches, out of
# line, from subtransactions that end well or not.
my $mix = <<'SQL';
INSERT INTO records SELECT i, 0, 'small' FROM generate_series(1, 2500) AS i;
INSERT INTO records VALUES (3000, 0, repeat('toasted ', 40000));
UPDATE records SET n = n + 1 WHERE id <= 1500;
UPDATE records SET n = n + 1, doc = repeat(md5(id::text), id * 2) WHERE id <= 300;
UPDATE records SET n = n + 1 WHERE id = 3000;
BEGIN;
SELECT architect.audit_set_actor('alice');
UPDATE records SET n = n + 1 WHERE id BETWEEN 100 AND 1250;
SAVEPOINT a;
UPDATE records SET n = n + 1;
INSERT INTO records SELECT i, 0 FROM generate_series(5000, 6500) AS i;
ROLLBACK TO a;
SAVEPOINT b;
UPDATE records SET n = n + 1, doc = doc || 'x' WHERE id % 7 = 0;
RELEASE b;
COMMIT;
BEGIN;
DELETE FROM records WHERE id > 1000;
ROLLBACK;
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        BEGIN
            UPDATE records SET n = n + 1 WHERE id = i;
            IF i % 3 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            UPDATE records SET n = n + 1, doc = NULL WHERE id = i + 1000;
        END;
    END LOOP;
END $$;
DELETE FROM records WHERE id BETWEEN 2000 AND 2400;
SQL

# Nothing is missing, nothing is there twice and nothing that was undone: the changes of
# each record go up from 0 without a gap to what the table has.
my $unsound = <<'SQL';
WITH step AS (
    SELECT record_id::int AS id, log.id AS log_id, operation,
           (old_values ->> 'n')::int AS before,
           (new_values ->> 'n')::int AS after,
           lag(operation, 1, 'DELETE') OVER record AS last_operation,
           lag((new_values ->> 'n')::int) OVER record AS last_after,
           lead(log.id) OVER record IS NULL AS is_last
    FROM architect.audit_log AS log
    WHERE table_name = 'records'
    WINDOW record AS (PARTITION BY record_id ORDER BY log.id)
)
SELECT 'log row ' || log_id || ' of record ' || id
FROM step
WHERE before IS DISTINCT FROM last_after
   OR after <> coalesce(before + 1, 0)
   OR (operation = 'INSERT') <> (last_operation = 'DELETE')
UNION ALL
SELECT 'record ' || coalesce(step.id, records.id)
FROM (SELECT id, after FROM step WHERE is_last AND operation <> 'DELETE') AS step
FULL JOIN records ON records.id = step.id
WHERE step.after IS DISTINCT FROM records.n
LIMIT 10
SQL

# Checks every page and index of the log, its TOAST tables included.
sub check_pages
{
	my ($when) = @_;

  SKIP:
	{
		skip 'amcheck is not installed', 2
		  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'") eq '0';
		$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS amcheck');
		is($node->safe_psql('postgres', <<'SQL'), '', "$when the pages of the log are sound");
SELECT tree.relid, problem
FROM pg_partition_tree('architect.audit_log') AS tree
CROSS JOIN LATERAL verify_heapam(tree.relid, check_toast => true) AS problem
WHERE tree.isleaf
SQL
		cmp_ok($node->safe_psql('postgres', <<'SQL'), '>', 9, "$when the indexes of the log have every row");
SELECT count(bt_index_check(index.indexrelid, heapallindexed => true))
FROM pg_partition_tree('architect.audit_log') AS tree
JOIN pg_class AS class ON class.oid = tree.relid
JOIN pg_index AS index ON index.indrelid IN (tree.relid, class.reltoastrelid)
JOIN pg_class AS index_class ON index_class.oid = index.indexrelid
JOIN pg_am AS method ON method.oid = index_class.relam
WHERE tree.isleaf AND method.amname = 'btree'
SQL
	}
}

$node->safe_psql('postgres', $mix);
is($node->safe_psql('postgres', $unsound), '', 'the log has every change once and in order');
my ($count, $last) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*), max(id) FROM architect.audit_log');

# Logs whose last numbers before the crash were taken in steps of some sizes; what stands
# in the WAL runs ahead of them in another rhythm.
my @steps = ([ 130, (1) x 125, 384 ], [ 1000, 24, (1) x 200, 640 ], [ (1) x 300 ]);
foreach my $i (0 .. $#steps)
{
	$node->safe_psql('postgres', "CREATE DATABASE numbers_$i");
	$node->safe_psql("numbers_$i", <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE t (id int PRIMARY KEY);
SELECT architect.audit_enable('t');
SQL
}
$node->safe_psql('postgres', 'CHECKPOINT');
foreach my $i (0 .. $#steps)
{
	my $script = '';
	my $from = 1;

	foreach my $size (@{ $steps[$i] })
	{
		$script .= "INSERT INTO t SELECT generate_series($from, $from + $size - 1);\n";
		$from += $size;
	}
	$node->safe_psql("numbers_$i", $script);
}

# The server dies while one transaction is open and two are prepared.
my $session = open_session(<<'SQL');
BEGIN;
SELECT architect.audit_set_actor('mallory');
UPDATE records SET n = n + 1;
INSERT INTO records VALUES (9000, 0, repeat('lost ', 10000));
SAVEPOINT a;
DELETE FROM records WHERE id < 100;
SQL
is( $node->safe_psql('postgres', <<'SQL'), "session user\nsession user\nsession user", 'the actor of a prepared transaction stays behind in it');
BEGIN;
SELECT FROM architect.audit_set_actor('alice', '{"request": "keep"}');
INSERT INTO other SELECT i, 'kept' FROM generate_series(1, 1200) AS i;
SAVEPOINT a;
INSERT INTO other VALUES (5000, 'undone');
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO other VALUES (5001, 'kept');
PREPARE TRANSACTION 'keep';
INSERT INTO other VALUES (6001, 'between');
BEGIN;
SELECT FROM architect.audit_set_actor('bob', '{"request": "drop"}');
INSERT INTO other SELECT i, 'dropped' FROM generate_series(2001, 3200) AS i;
PREPARE TRANSACTION 'drop';
INSERT INTO other VALUES (6002, 'after');
SELECT CASE WHEN changed_by = session_user AND session_role IS NULL AND context IS NULL THEN 'session user' END
FROM architect.audit_log
WHERE record_id IN ('6001', '6002')
ORDER BY id;
SQL
$node->stop('immediate');
$session->{run}->finish;
$node->start;

is($node->safe_psql('postgres', 'SELECT count(*) - 3 FROM architect.audit_log'),
	$count, 'after the crash the log has what was committed');
is($node->safe_psql('postgres', $unsound), '', 'after the crash the log fits the table');
is( $node->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE changed_by = 'mallory' OR context IS NOT NULL"),
	'0', 'an open or a prepared transaction has left nothing in the log');

# A prepared transaction that is committed brings its rows with its actor.
is( $node->safe_psql('postgres', <<'SQL'), "1201|1201|alice|{\"request\": \"keep\"}|1\n600\n6003|t", 'COMMIT PREPARED and ROLLBACK PREPARED decide over log rows too');
COMMIT PREPARED 'keep';
ROLLBACK PREPARED 'drop';
INSERT INTO other VALUES (6003, 'later');
SELECT count(*), count(DISTINCT record_id), min(changed_by), min(context::text), count(DISTINCT transaction_id)
FROM architect.audit_log
WHERE new_values ->> 'v' IN ('kept', 'dropped', 'undone');
SELECT count(*) FROM architect.audit_log WHERE table_name = 'late' AND changed_by = 'alice';
SELECT record_id, changed_by = session_user FROM architect.audit_log ORDER BY id DESC LIMIT 1;
SQL

is($node->safe_psql('postgres', "SELECT min(id) > $last FROM architect.audit_log WHERE record_id = '6003'"),
	't', 'numbers given out before the crash are not given out again');
foreach my $i (0 .. $#steps)
{
	is( $node->safe_psql("numbers_$i", <<'SQL'), 't', "nor are those of log $i");
INSERT INTO t VALUES (0);
SELECT min(id) FILTER (WHERE record_id = '0') > max(id) FILTER (WHERE record_id <> '0') FROM architect.audit_log;
SQL
}
check_pages('after a crash');

# Work goes on, with indexes that an administrator has added.
$node->safe_psql('postgres', <<'SQL');
DELETE FROM records;
CREATE INDEX ON architect.audit_log (table_id, changed_at DESC) WHERE changed_by <> 'alice';
CREATE UNIQUE INDEX ON architect.audit_log (id, changed_at);
CREATE INDEX ON architect.audit_log USING gin (new_values jsonb_path_ops);
CREATE INDEX ON architect.audit_log USING brin (changed_at);
SQL
$node->safe_psql('postgres', $mix);

# A second crash, with more indexes on the log.
$session = open_session(<<'SQL');
BEGIN;
UPDATE records SET n = n + 1, doc = repeat('y', 3000);
SQL
$node->stop('immediate');
$session->{run}->finish;
$node->start;
is( $node->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE new_values ->> 'doc' LIKE 'yyy%'"),
	'0', 'a second crash leaves nothing of the open transaction either');
is($node->safe_psql('postgres', $unsound), '', 'after a second crash the log still fits the table');
check_pages('after a second crash');

$node->stop;
done_testing();
