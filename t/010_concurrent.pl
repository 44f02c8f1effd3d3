# While clients write, the log can be maintained, indexed and altered: no change is refused,
# lost or logged twice, and nobody deadlocks.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# Each change of a record is a step up in n.  What has left the log is in kept.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE records (id int PRIMARY KEY, n int NOT NULL, doc text);
INSERT INTO records SELECT i, 0 FROM generate_series(1, 200) AS i;
SELECT architect.audit_enable('records');
CREATE TABLE kept (LIKE architect.audit_log);

-- The partition of now.
CREATE FUNCTION current_partition() RETURNS text LANGUAGE sql AS $$
    SELECT inhrelid::regclass::text
    FROM pg_inherits
    JOIN pg_class AS class ON class.oid = inhrelid
    CROSS JOIN regexp_match(pg_get_expr(relpartbound, class.oid), $re$FROM \('(.*)'\) TO \('(.*)'\)$re$) AS bound
    WHERE inhparent = 'architect.audit_log'::regclass
      AND bound[1]::timestamptz <= now() AND bound[2]::timestamptz > now()
$$;

-- Takes it out of the log, so that rows go to the default partition for a while.
CREATE PROCEDURE retire_partition() LANGUAGE plpgsql AS $$
DECLARE
    part text := current_partition();
BEGIN
    EXECUTE 'ALTER TABLE architect.audit_log DETACH PARTITION ' || part;
    EXECUTE 'INSERT INTO kept SELECT * FROM ' || part;
    EXECUTE 'DROP TABLE ' || part;
END $$;
SQL

# Starts a session that stays open.
sub open_session
{
	my %session = (in => '', out => '', timer => IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));

	$session{run} = IPC::Run::start([ 'psql', '-XqAt', '-f', '-', '-d', $node->connstr('postgres') ],
		'<', \$session{in}, '>', \$session{out}, '2>&1', $session{timer});
	$session{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	return \%session;
}

# A transaction that has written to the log, and has to look again where it writes, does
# not meet a change of the log on the way.
my ($writer, $administrator) = (open_session(), open_session());
$writer->{in} .= <<'SQL';
UPDATE records SET n = n + 1 WHERE id = 1;
BEGIN;
UPDATE records SET n = n + 1 WHERE id = 1;
SELECT 'first';
SQL
ok(pump_until($writer->{run}, $writer->{timer}, \$writer->{out}, qr/first/), 'a transaction writes');
$node->safe_psql('postgres', 'ANALYZE ' . $node->safe_psql('postgres', 'SELECT current_partition()'));
$administrator->{in} .= "ALTER TABLE architect.audit_log ADD CONSTRAINT own CHECK (id > 0); SELECT 'altered';\n";
$administrator->{run}->pump_nb;
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"), 'the log is to be altered');
$writer->{in} .= "UPDATE records SET n = n + 1 WHERE id = 1; COMMIT; SELECT 'second';\n";
ok(pump_until($writer->{run}, $writer->{timer}, \$writer->{out}, qr/second/), 'the transaction writes again');
ok(pump_until($administrator->{run}, $administrator->{timer}, \$administrator->{out}, qr/altered/), 'then the log is altered');
foreach my $session ($writer, $administrator)
{
	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	unlike($session->{out}, qr/ERROR/, 'no session failed');
}
$node->safe_psql('postgres', 'ALTER TABLE architect.audit_log DROP CONSTRAINT own');

# Clients change a record several times in a transaction, a part of it undone, until told
# to stop.
my $script = PostgreSQL::Test::Utils::tempdir() . '/write.pgbench';
append_to_file($script, <<'PGBENCH');
\set id random(1, 200)
\set size random(1, 3000)
BEGIN;
UPDATE records SET n = n + 1, doc = repeat('x', :size) WHERE id = :id;
SAVEPOINT a;
UPDATE records SET n = n + 100 WHERE id = :id;
ROLLBACK TO a;
UPDATE records SET n = n + 1 WHERE id = :id;
COMMIT;
PGBENCH
my ($pgbench_out, $pgbench_err) = ('', '');
my $pgbench = IPC::Run::start(
	[
		'pgbench', '--no-vacuum', '--client=3', '--time=600', '--progress=1',
		"--file=$script", '-h', $node->host, '-p', $node->port, 'postgres'
	],
	'>', \$pgbench_out, '2>', \$pgbench_err,
	my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
$timer->start($PostgreSQL::Test::Utils::timeout_default);
ok($node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM architect.audit_log'), 'clients write');

# Waits until the clients have gone on.
sub see_progress
{
	my ($while) = @_;
	my $written = $node->safe_psql('postgres', 'SELECT last_value FROM architect.audit_log_id_seq');
	ok($node->poll_query_until('postgres', "SELECT last_value > $written + 30 FROM architect.audit_log_id_seq"),
		"clients go on $while");
}

foreach my $turn (1 .. 3)
{
	my ($out, $err);
	my $work = sub {
		my ($what, @commands) = @_;
		$err = '';
		foreach my $command (@commands)
		{
			$node->psql('postgres', $command, stdout => \$out, stderr => \my $problem);
			$err .= $problem;
		}
		is($err, '', "$what while clients write, turn $turn");
	};
	my $part = $node->safe_psql('postgres', 'SELECT current_partition()');

	$work->('indexes are built and dropped',
		"CREATE INDEX CONCURRENTLY own ON $part (changed_by)",
		"CREATE INDEX own_all ON architect.audit_log ((new_values ->> 'n'))",
		"REINDEX TABLE CONCURRENTLY $part",
		'DROP INDEX CONCURRENTLY architect.own',
		'DROP INDEX architect.own_all');
	$work->('constraints come and go',
		"ALTER TABLE architect.audit_log ADD CONSTRAINT own CHECK (record_id <> 'x')",
		"ANALYZE $part",
		'ALTER TABLE architect.audit_log DROP CONSTRAINT own');
	$work->('a partition is rewritten', "VACUUM (FULL, ANALYZE) $part");
	$work->('a partition leaves the log', 'CALL retire_partition()');
	see_progress("without a partition for now, turn $turn");
	$work->('audit_maintain makes a partition', 'SELECT architect.audit_maintain()');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM architect.audit_log_default'),
		'0', "the default partition is empty then, turn $turn");
	see_progress("with the new partition, turn $turn");
}

# Not INT: that is ignored by what runs in the background of a shell.
$pgbench->signal('TERM');
$pgbench->finish;
ok( $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'"),
	'the clients are gone');
unlike($pgbench_err, qr/error|[1-9]\d* failed/i, 'no client failed');
is($node->safe_psql('postgres', "SELECT sum(deadlocks) FROM pg_stat_database"), '0', 'nobody deadlocked');

# What the clients changed is there once and in order.
is( $node->safe_psql('postgres', <<'SQL'), '0|t', 'every change is logged once and in order');
WITH step AS (
    SELECT (old_values ->> 'n')::int AS before, (new_values ->> 'n')::int AS after,
           lag((new_values ->> 'n')::int, 1, 0) OVER (PARTITION BY record_id ORDER BY id) AS last_after
    FROM (TABLE architect.audit_log UNION ALL TABLE kept) AS log
)
SELECT count(*) FILTER (WHERE before <> last_after OR after <> before + 1), count(*) = (SELECT sum(n) FROM records)
FROM step
SQL

SKIP:
{
	skip 'amcheck is not installed', 1
	  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'") eq '0';
	is( $node->safe_psql('postgres', <<'SQL'), 't', 'the indexes of the log have every row');
CREATE EXTENSION amcheck;
SELECT count(bt_index_check(indexrelid, heapallindexed => true)) > 0
FROM pg_partition_tree('architect.audit_log')
JOIN pg_index ON indrelid = relid
JOIN pg_class ON pg_class.oid = indexrelid
JOIN pg_am ON pg_am.oid = relam AND amname = 'btree'
WHERE isleaf
SQL
}

$node->stop;
done_testing();
