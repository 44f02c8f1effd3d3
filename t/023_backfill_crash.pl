# Whatever dies, a backend or the server, at whatever moment: a job that is called again, and
# one that goes on by itself, misses no row, and in key order changes none twice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $moments = 25;
my $seed = seed();

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_architect'
restart_after_crash = on
max_worker_processes = 16
autovacuum = off
CONF
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE wide (id uuid PRIMARY KEY, v int, other int, pad text);
INSERT INTO wide SELECT md5(i::text)::uuid, 0, i, repeat('x', 60) FROM generate_series(1, 60000) AS i;
CREATE INDEX ON wide (other);
CREATE TABLE counted (a int, b text COLLATE "C", n int NOT NULL, pad text, PRIMARY KEY (a, b));
INSERT INTO counted SELECT i % 7, md5(i::text), 0, repeat('x', 60) FROM generate_series(1, 40000) AS i;
SQL

# What has been done so often, and the arguments for doing it once more.
my %round = (wide => 0, counted => 0);
my %arguments = (
	wide => sub { "'wide', set => 'v = $_[0]', filter => 'v IS DISTINCT FROM $_[0]', batch_time => '2ms'" },
	counted => sub { "'counted', set => 'n = n + 1', batch_time => '2ms'" });

# Rows that were missed, or changed more than once, in the round that is on.
my %unsound = (
	wide => sub { "SELECT count(*) FROM wide WHERE v NOT IN ($_[0] - 1, $_[0])" },
	counted => sub { "SELECT count(*) FROM counted WHERE n NOT IN ($_[0] - 1, $_[0])" });
my %missed = (
	wide => sub { "SELECT count(*) FROM wide WHERE v IS DISTINCT FROM $_[0]" },
	counted => sub { "SELECT count(*) FROM counted WHERE n <> $_[0]" });

# The answer to a query, as soon as the server gives one, whatever state it is in.
sub ask
{
	my ($query) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $end)
	{
		# psql may be gone before it is given the query.
		my ($code, $out) = eval { $node->psql('postgres', $query) };
		return $out if defined $code && $code == 0;
		usleep(50_000);
	}
	BAIL_OUT('the server does not come back');
}

sub kill_server
{
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

	$node->kill9;
	# The processes that it had may take a moment to see it.
	do
	{
		BAIL_OUT('the server does not start') if time() > $end;
		usleep(20_000) while kill(0, $pid) && time() < $end;
		usleep(50_000);
	} while (!$node->start(fail_ok => 1) && ($node->stop('fast', fail_ok => 1) || 1));
}

# Kills a process that works on a job; false if there is none at the moment.
sub kill_process
{
	my ($like) = @_;
	my @pids = split /\n/, ask("SELECT pid FROM pg_stat_activity WHERE application_name LIKE '$like'");

	return 0 if !@pids || !kill(9, $pids[ rand @pids ]);
	return 1;
}

# What is said when the server or a backend dies, by any of those that see it.
my $dying = qr/server closed the connection|server terminated abnormally|before or while processing|connection to server|terminating connection|57P0[123]|Is the server running|could not (?:receive|send)|no connection to the server/;

sub complaints
{
	return join "\n", grep { !/$dying|^(?:NOTICE|INFO|WARNING|DETAIL|HINT|LOCATION)/ } split /\n/, $_[0];
}

# Whether a job of the table has ended since the last one that did.
my %last = (wide => 0, counted => 0);
sub is_done
{
	my ($table) = @_;
	my $job = ask("SELECT max(job) FROM architect.backfill_jobs WHERE target = '$table'::regclass AND state = 'done' AND job > $last{$table}");

	$last{$table} = $job if $job ne '';
	return $job ne '';
}

# Ends a round: all is as it shall be, and what comes next is another job.
sub check_round
{
	my ($table, $how) = @_;

	is(ask($missed{$table}->($round{$table})), '0',
		"$how: round $round{$table} of $table missed nothing (seed $seed)");
}

my $strikes = 0;
sub strike
{
	my ($how, $processes) = @_;
	my $struck = $strikes % 3 ? kill_process($processes) : (kill_server(), 1)[1];

	$strikes += $struck;
	foreach my $table (sort keys %round)
	{
		my $unsound = ask($unsound{$table}->($round{$table}));
		is($unsound, '0', "$how: moment $strikes leaves $table sound (seed $seed)") if $struck || $unsound ne '0';
	}
}

# Called again and again until it is done.
my %session;
$round{$_}++ foreach keys %round;
while ($strikes < $moments)
{
	foreach my $table (sort keys %round)
	{
		$session{$table} = begin_session($node, 'CALL architect.backfill(' . $arguments{$table}->($round{$table}) . ')',
			name => 'called');
	}
	usleep(rand(300_000));
	strike('called', 'called');
	foreach my $table (sort keys %round)
	{
		my (undef, $err) = end_session($session{$table});
		my $complaints = complaints($err);
		is($complaints, '', "called: $table complains of nothing else (seed $seed)") if $complaints ne '';
		next if !is_done($table);
		check_round($table, 'called');
		$round{$table}++;
	}
}
foreach my $table (sort keys %round)
{
	my (undef, $err) = run_session($node, 'CALL architect.backfill(' . $arguments{$table}->($round{$table}) . ')');
	is(complaints($err), '', "called: the last call ends well for $table");
	ok(is_done($table), "called: the last job of $table is done");
	check_round($table, 'called');
}

# Started once: goes on by itself.
my %started;
while ($strikes < 2 * $moments)
{
	foreach my $table (sort keys %round)
	{
		next if $started{$table};
		$round{$table}++;
		$started{$table} = ask(
			"SELECT coalesce((SELECT job FROM architect.backfill_jobs WHERE target = '$table'::regclass AND finished_at IS NULL), " .
			'architect.backfill_start(' . $arguments{$table}->($round{$table}) . ', workers => 2))');
	}
	usleep(rand(300_000));
	strike('started', 'backfill %');
	foreach my $table (sort keys %round)
	{
		next if !is_done($table);
		check_round($table, 'started');
		delete $started{$table};
	}
}
foreach my $table (sort keys %started)
{
	wait_for($node, "SELECT state = 'done' FROM architect.backfill_jobs WHERE job = $started{$table}",
		"started: the last job of $table is done");
	check_round($table, 'started');
}

cmp_ok($round{$_}, '>', 2, "there were jobs enough for $_") foreach sort keys %round;
$node->stop;
done_testing();
