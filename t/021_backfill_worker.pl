# Background workers: what becomes of jobs when workers, or the server, go down; and where
# no worker can be had.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 10\nautovacuum = off\nrestart_after_crash = on");
$node->start;

# Returns what a query answers to the owner of the tables.
sub ask
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'shop', "SET client_min_messages = error; $sql",
		extra_params => [ '-U', 'clerk' ]);
}

# Returns the error of a query.
sub refused
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('shop', $sql, extra_params => [ '-U', 'clerk', '-v', 'VERBOSITY=verbose' ]);
	isnt($status, 0, "refused: $sql");
	return $err;
}

# A job that waits until the brake is let go.
sub start_braked
{
	my ($value, $workers, $database) = @_;
	return ask(
		"SELECT architect.backfill_start('item', set => 'v = $value', filter => 'v IS DISTINCT FROM $value',"
		  . " workers => $workers, throttle_query => 'SELECT pulled FROM public.brake')",
		$database);
}

sub pull { ask("UPDATE brake SET pulled = $_[0]", $_[1]); return; }

sub await
{
	my ($what, $condition, $database) = @_;
	ok($node->poll_query_until($database // 'shop', $condition), $what);
	return;
}

sub await_state
{
	my ($job, $state, $what, $database) = @_;
	await($what, "SELECT state = '$state' FROM architect.backfill_progress WHERE job = $job", $database);
	return;
}

sub await_processes
{
	my ($job, $count, $what, $database) = @_;
	await($what, "SELECT coalesce(processes, 0) = $count FROM architect.backfill_progress WHERE job = $job", $database);
	return;
}

$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE DATABASE shop OWNER clerk; CREATE DATABASE more OWNER clerk');
foreach my $database ('shop', 'more')
{
	$node->safe_psql($database, 'CREATE EXTENSION pg_architect; GRANT CREATE ON SCHEMA public TO clerk');
	ask(<<'SQL', $database);
CREATE TABLE item (id int PRIMARY KEY, v int);
INSERT INTO item SELECT generate_series(1, 20000);
CREATE TABLE brake (pulled boolean);
INSERT INTO brake VALUES (true);
SQL
}

# A leader that is terminated takes its followers along; the job is there to be resumed.
my $job = start_braked(1, 3);
await('a job that waits', "SELECT waiting_for ~ 'throttle' FROM architect.backfill_progress WHERE job = $job");
is(ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backfill $job' AND usename = 'clerk'"
		  . " AND backend_type = 'backfill'"), ask("SELECT processes FROM architect.backfill_progress WHERE job = $job"),
	'workers are connected as the owner, and name the job');
$node->safe_psql('shop', "SELECT pg_terminate_backend(pid) FROM architect.backfill_jobs WHERE job = $job");
await_processes($job, 0, 'no worker is left');
await('it is to be resumed', "SELECT state = 'waiting' AND waiting_for ~ '^(to be resumed|a background worker)'"
	  . " FROM architect.backfill_progress WHERE job = $job");
pull('false');
ask("SELECT architect.backfill_resume($job)");
await_state($job, 'done', 'it is done after it was resumed');
is(ask('SELECT count(*) FROM item WHERE v = 1'), '20000', 'all rows are changed');

# A job that is paused and resumed before its worker has noticed goes on.
pull('true');
$job = start_braked(2, 1);
await_processes($job, 1, 'a worker waits');
ask("SELECT architect.backfill_pause($job); SELECT architect.backfill_resume($job)");
pull('false');
await_state($job, 'done', 'paused and resumed in one breath, the job goes on');

# Where the library is not preloaded, nothing starts by itself.
pull('true');
$job = start_braked(3, 2);
await('a job that waits', "SELECT waiting_for ~ 'throttle' FROM architect.backfill_progress WHERE job = $job");
$node->stop('immediate');
$node->start;
pull('false');
ask('SELECT pg_sleep(1)');
is(ask("SELECT state, processes FROM architect.backfill_progress WHERE job = $job"), 'waiting|',
	'not preloaded: after a restart the job waits to be resumed');
ask("SELECT architect.backfill_resume($job)");
await_state($job, 'done', 'and is done after that');
is(ask('SELECT count(*) FROM item WHERE v = 3'), '20000', 'all rows are changed');

# Preloaded, jobs that were under way go on, in each database; paused ones do not.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_architect'");
$node->restart;
my %jobs;
foreach my $database ('shop', 'more')
{
	pull('true', $database);
	$jobs{$database} = start_braked(4, 2, $database);
	await_state($jobs{$database}, 'waiting', "$database: a job", $database);
}
ask('CREATE TABLE other (id int PRIMARY KEY, v int); INSERT INTO other VALUES (1)');
my $paused = ask("SELECT architect.backfill_start('other', set => 'v = 4', filter => 'v IS NULL',"
	  . " throttle_query => 'SELECT pulled FROM public.brake')");
await_processes($paused, 1, 'another one');
ask("SELECT architect.backfill_pause($paused)");
await_processes($paused, 0, 'which is paused');
$node->stop('immediate');
$node->start;
foreach my $database ('shop', 'more')
{
	await("$database: the server starts the job",
		"SELECT processes >= 1 FROM architect.backfill_progress WHERE job = $jobs{$database}", $database);
	pull('false', $database);
	await_state($jobs{$database}, 'done', "$database: and it is done", $database);
	is(ask('SELECT count(*) FROM item WHERE v = 4', $database), '20000', "$database: all rows are changed");
	like(ask("SELECT string_agg(event, ', ') FROM architect.backfill_events WHERE job = $jobs{$database}", $database),
		qr/running, .*started by the server, running, .*done/, "$database: the events say so");
}
is(ask("SELECT state, processes FROM architect.backfill_progress WHERE job = $paused"), 'paused|',
	'what was paused stays so');
ask("SELECT architect.backfill_cancel($paused)");

# The same after a worker crashed, which takes the server down for a moment.
pull('true');
$job = start_braked(5, 1);
await('a job that waits', "SELECT waiting_for ~ 'throttle' FROM architect.backfill_progress WHERE job = $job");
my $pid = ask("SELECT pid FROM architect.backfill_jobs WHERE job = $job");
kill 'KILL', $pid;
foreach my $i (1 .. 600)
{
	select(undef, undef, undef, 0.1);
	last if $i > 5 && run_log([ 'pg_isready', '-q', '-h', $node->host, '-p', $node->port ]);
}
await('after a crash the server starts the job again',
	"SELECT pid <> $pid FROM architect.backfill_jobs WHERE job = $job");
pull('false');
await_state($job, 'done', 'and it is done');

# Unless the administrator does not want it, or it brings the server down each time.
pull('true');
$job = start_braked(6, 1);
await('a job that waits', "SELECT waiting_for ~ 'throttle' FROM architect.backfill_progress WHERE job = $job");
$node->append_conf('postgresql.conf', 'architect.backfill_autostart = off');
$node->restart;
ask('SELECT pg_sleep(1)');
is(ask("SELECT processes FROM architect.backfill_progress WHERE job = $job"), '', 'autostart is off: nothing starts');

$node->safe_psql('shop', "INSERT INTO architect.backfill_log (job, event)"
	  . " SELECT $job, 'started by the server' FROM generate_series(1, 5)");
$node->append_conf('postgresql.conf', 'architect.backfill_autostart = on');
$node->reload;
await('a job that was started five times in vain is left alone',
	"SELECT count(*) = 1 FROM architect.backfill_events WHERE job = $job AND event = 'left alone'");
is(ask("SELECT processes FROM architect.backfill_progress WHERE job = $job"), '', 'and not started');
pull('false');
ask("SELECT architect.backfill_resume($job)");
await_state($job, 'done', 'until somebody resumes it');

# A role that cannot connect.
$node->safe_psql('shop', 'REVOKE CONNECT ON DATABASE shop FROM PUBLIC; ALTER DATABASE shop OWNER TO CURRENT_USER');
$node->safe_psql('shop', 'CREATE ROLE keeper; GRANT ALL ON SCHEMA public TO keeper; ALTER TABLE item OWNER TO keeper');
my $start = "SELECT architect.backfill_start('item', set => 'v = 7', filter => 'v <> 7')";
my ($status, $out, $err) = $node->psql('shop', $start);
if ($node->pg_version >= 17)
{
	like($err, qr/may not connect to this database/, 'a role without CONNECT is refused');
	$node->safe_psql('shop', 'GRANT CONNECT ON DATABASE shop TO keeper');
	$job = $node->safe_psql('shop', "SET client_min_messages = error; $start");
	await_state($job, 'done', 'a role without LOGIN can run in the background');
}
else
{
	like($err, qr/this role has no LOGIN/, 'a role without LOGIN is refused');
	$node->safe_psql('shop', 'ALTER ROLE keeper LOGIN');
	($status, $out, $err) = $node->psql('shop', $start);
	like($err, qr/may not connect to this database/, 'a role without CONNECT is refused');
	$node->safe_psql('shop', 'GRANT CONNECT ON DATABASE shop TO keeper');
}
$node->safe_psql('shop', 'ALTER TABLE item OWNER TO clerk; GRANT CONNECT ON DATABASE shop TO clerk');

# No worker is free: said at once, and nothing is left behind.
$node->append_conf('postgresql.conf', "max_worker_processes = 2");
$node->restart;
my $before = ask('SELECT count(*) FROM architect.backfill_jobs');
like(refused("SELECT architect.backfill_start('item', set => 'v = 8', filter => 'v <> 8')"),
	qr/53000.*no background worker is free/s, 'no worker is free');
is(ask('SELECT count(*) FROM architect.backfill_jobs'), $before, 'and no job is left');

$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:/, 'the server did not panic');

done_testing();
