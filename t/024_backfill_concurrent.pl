# While an application writes to the table, a job reaches every row that was there when it
# began, changes none twice in key order, overwrites nothing, and ends.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_architect');
gate($node);

my $scripts = PostgreSQL::Test::Utils::tempdir();

# Starts clients that run scripts until they are stopped.
sub begin_clients
{
	my ($count, %script) = @_;
	my %clients = (out => '', err => '', timer => IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));

	append_to_file("$scripts/$_", $script{$_}) foreach keys %script;
	$clients{run} = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', "--client=$count", '--time=600', '--progress=1', '-h', $node->host,
			'-p', $node->port, (map { "--file=$scripts/$_" } sort keys %script), 'postgres'
		],
		'<', \undef, '>', \$clients{out}, '2>', \$clients{err}, $clients{timer});
	$clients{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	return \%clients;
}

sub end_clients
{
	my ($clients, $what) = @_;

	$clients->{run}->signal('TERM');
	$clients->{run}->finish;
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'");
	unlike($clients->{err}, qr/error|[1-9]\d* failed/i, "$what: no client failed");
}

# What clients do to a table: they insert what has to be done, make rows longer so that they
# move, delete, and write themselves what the job would write.
my %storm = (
	'insert' => <<'PGBENCH',
INSERT INTO storm (id, pad) SELECT gen_random_uuid(), 'new' FROM generate_series(1, 20);
PGBENCH
	'move' => <<'PGBENCH',
\set i random(1, 200000)
\set size random(1, 900)
WITH moved AS (
    UPDATE storm SET touched = touched + 1, pad = repeat('x', :size) WHERE id = md5(:i::text)::uuid RETURNING id
)
INSERT INTO touch SELECT id FROM moved;
PGBENCH
	'write' => <<'PGBENCH',
\set i random(1, 200000)
WITH written AS (
    UPDATE storm SET v = -1 WHERE id = md5(:i::text)::uuid RETURNING id
)
INSERT INTO mine SELECT id FROM written;
PGBENCH
	'delete' => <<'PGBENCH');
\set i random(200001, 202000)
DELETE FROM storm WHERE id = md5(:i::text)::uuid;
PGBENCH

foreach my $case (
	[ 'block order', "set => 'v = gate(false) + 1', filter => 'v IS NULL', walk => 'block'", 'v IS NULL', 'v <> -1' ],
	[ 'two workers', "set => 'v = gate(false) + 1', filter => 'v IS NULL', workers => 2", 'v IS NULL', 'v <> -1' ],
	[ 'key order', "set => 'n = n + 1', walk => 'key'", 'n <> 1', 'false' ])
{
	my ($what, $arguments, $missed, $overwritten) = @$case;
	my ($err, $job) = ('');

	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE storm (id uuid PRIMARY KEY, v int, n int NOT NULL DEFAULT 0, touched int NOT NULL DEFAULT 0, pad text);
INSERT INTO storm (id, pad) SELECT md5(i::text)::uuid, repeat('x', 50) FROM generate_series(1, 202000) AS i;
CREATE TABLE began AS SELECT id FROM storm;
CREATE TABLE touch (id uuid);
CREATE TABLE mine (id uuid);
SQL
	my $clients = begin_clients(3, %storm);
	wait_for($node, 'SELECT count(*) > 50 FROM touch', "$what: clients write");

	my $start = time();
	if ($arguments =~ /workers/)
	{
		$job = $node->safe_psql('postgres', "SELECT architect.backfill_start('storm', $arguments)");
		wait_for($node, "SELECT finished_at IS NOT NULL FROM architect.backfill_jobs WHERE job = $job", "$what: the job ends");
	}
	else
	{
		(undef, $err) = run_session($node, "CALL architect.backfill('storm', $arguments)");
	}
	cmp_ok(time() - $start, '<', 60, "$what: the job ends while rows are still inserted");
	unlike($err, qr/ERROR/, "$what: the call says no error");
	is(job_state($node, 'storm'), 'done|', "$what: the job is done");
	end_clients($clients, $what);

	is( $node->safe_psql('postgres', "SELECT count(*) FROM storm JOIN began USING (id) WHERE $missed"),
		'0', "$what: every row that was there at the start is done");
	is( $node->safe_psql('postgres', "SELECT count(*) FROM storm WHERE n NOT IN (0, 1)"),
		'0', "$what: none is done twice");
	is( $node->safe_psql('postgres', "SELECT count(*) FROM storm JOIN (SELECT DISTINCT id FROM mine) AS mine USING (id) WHERE $overwritten"),
		'0', "$what: what the application wrote is there");
	is( $node->safe_psql('postgres', 'SELECT sum(touched) FROM storm'),
		$node->safe_psql('postgres', 'SELECT count(*) FROM touch'),
		"$what: all else that the application wrote is there too");
	$node->safe_psql('postgres', 'DROP TABLE storm, began, touch, mine');
}
is($node->safe_psql('postgres', 'SELECT sum(deadlocks) FROM pg_stat_database'), '0', 'nobody deadlocked');

# A row moves from where the job has not been yet to where it has been already.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE moved (id int PRIMARY KEY, v int, pad text) WITH (autovacuum_enabled = off);
INSERT INTO moved SELECT i, NULL, repeat('x', 100) FROM generate_series(1, 20000) AS i;
DELETE FROM moved WHERE id <= 14000;
SQL
$node->safe_psql('postgres', 'VACUUM moved');
close_gate($node);
my $call = begin_session($node,
	"CALL architect.backfill('moved', set => 'v = gate(id = 15000)', filter => 'v IS NULL', batch_time => '10ms')", name => 'moving');
at_gate($node, 'moving');
is( $node->safe_psql('postgres', <<'SQL'), 't', 'a row moves out of its window, to where the job has been');
UPDATE moved SET pad = repeat('y', 100) WHERE id BETWEEN 18001 AND 19900;
SELECT bool_or(ctid < '(240,1)') FROM moved WHERE id BETWEEN 18001 AND 19900;
SQL
open_gate($node);
my (undef, $err) = end_session($call);
unlike($err, qr/ERROR/, 'the job ends without an error');
is( $node->safe_psql('postgres', "SELECT count(*) FROM moved WHERE v IS NULL OR id BETWEEN 18001 AND 19900 AND pad NOT LIKE 'y%'"),
	'0', 'it has reached the row');

# Two jobs on one table, or on the same partitions, are refused.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE twice (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE twice_1 PARTITION OF twice FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE twice_1_1 PARTITION OF twice_1 FOR VALUES FROM (0) TO (50);
INSERT INTO twice SELECT i FROM generate_series(1, 40) AS i;
SQL
close_gate($node);
$call = begin_session($node, "CALL architect.backfill('twice_1', set => 'v = gate(id = 20)', filter => 'v IS NULL')", name => 'first');
at_gate($node, 'first');
foreach my $table (qw(twice twice_1 twice_1_1))
{
	foreach my $how ("CALL architect.backfill('$table', set => 'v = 1', filter => 'v IS NULL')",
		"SELECT architect.backfill_start('$table', set => 'v = 1', filter => 'v IS NULL')")
	{
		(undef, $err) = run_session($node, $how);
		like($err, qr/ERROR:  55006: .*\n.*HINT/s, "a second job is refused: $how");
	}
}
# Nor can the same call join one that runs.
(undef, $err) = run_session($node, "CALL architect.backfill('twice_1', set => 'v = gate(id = 20)', filter => 'v IS NULL')");
like($err, qr/ERROR:  55006: /, 'the same call is refused while it runs');
open_gate($node);
(undef, $err) = end_session($call);
unlike($err, qr/ERROR/, 'the first job is not disturbed');
(undef, $err) = run_session($node, "CALL architect.backfill('twice', set => 'v = 1', filter => 'v = 0')");
unlike($err, qr/ERROR/, 'when it is done the next one can begin');
is($node->safe_psql('postgres', 'SELECT DISTINCT v FROM twice'), '1', 'and does its work');

# What a role is set to does not end its jobs.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE hasty LOGIN;
ALTER ROLE hasty SET statement_timeout = '200ms';
ALTER ROLE hasty SET lock_timeout = '1ms';
ALTER ROLE hasty SET idle_in_transaction_session_timeout = '1ms';
ALTER ROLE hasty SET default_transaction_isolation = 'serializable';
ALTER ROLE hasty SET default_transaction_deferrable = on;
ALTER ROLE hasty SET search_path = '';
CREATE TABLE hurry (id int PRIMARY KEY, v int);
ALTER TABLE hurry OWNER TO hasty;
INSERT INTO hurry SELECT i FROM generate_series(1, 1000) AS i;
SQL
my $slow = 'id + (pg_sleep(0.0005) IS NULL)::int';
(undef, $err) = run_session($node, "CALL architect.backfill('public.hurry', set => 'v = $slow', filter => 'v IS NULL')", user => 'hasty');
is(join("\n", grep { /ERROR|HINT/ } split /\n/, $err), '', 'a call is not ended by the timeouts of its role');
is($node->safe_psql('postgres', 'SELECT count(*) FROM hurry WHERE v IS NULL'), '0', 'it is done');
my ($job) = run_session($node, "SELECT architect.backfill_start('public.hurry', set => 'v = -$slow', filter => 'v > 0')", user => 'hasty');
wait_for($node, "SELECT state IN ('done', 'failed') FROM architect.backfill_jobs WHERE job = $job", 'a job in the background ends');
is(job_state($node, 'hurry'), 'done|', 'nor is it ended by the timeouts of its role');

$node->stop;
done_testing();
