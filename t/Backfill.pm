# Sessions that run beside the test, and jobs that it watches and holds.

package Backfill;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(begin_session end_session run_session wait_for job_state gate close_gate open_gate at_gate seed);

# A number for srand, so that a run can be made again.
sub seed
{
	my $seed = $ENV{BACKFILL_SEED} // int(rand(1_000_000));

	note "BACKFILL_SEED=$seed";
	srand($seed);
	return $seed;
}

# Starts a psql that runs commands, one after the other.  Options: name (of the
# application), user, database.
sub begin_session
{
	my ($node, $commands, %option) = @_;
	my %session = (out => '', err => '', timer => IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	my $connection = $node->connstr($option{database} // 'postgres');

	$connection .= " application_name=$option{name}" if $option{name};
	$connection .= " user=$option{user}" if $option{user};
	$session{run} = IPC::Run::start(
		[
			'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never',
			'-d', $connection, map { ('-c', $_) } ref $commands ? @$commands : $commands
		],
		'<', \undef, '>', \$session{out}, '2>', \$session{err}, $session{timer});
	$session{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	return \%session;
}

# Waits for its end; gives what it answered and what it said.
sub end_session
{
	my ($session) = @_;

	$session->{run}->finish;
	chomp($session->{$_}) foreach qw(out err);
	return ($session->{out}, $session->{err});
}

sub run_session
{
	return end_session(begin_session(@_));
}

sub wait_for
{
	my ($node, $condition, $what) = @_;

	return ok($node->poll_query_until('postgres', "SELECT coalesce(($condition)::boolean, false)"), $what);
}

# State and error of a table's last job.
sub job_state
{
	my ($node, $target) = @_;

	return $node->safe_psql('postgres',
		"SELECT state, error FROM architect.backfill_jobs WHERE target::text = '$target' ORDER BY job DESC LIMIT 1");
}

# A function that adds nothing to what a row is given, and waits there while the gate is closed.
sub gate
{
	my ($node) = @_;

	$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION gate(here boolean) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    WHILE here AND NOT pg_try_advisory_xact_lock_shared(1) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 0;
END $$;
SQL
}

my $keeper;

sub close_gate
{
	my ($node) = @_;

	$keeper = begin_session($node, [ 'SELECT pg_advisory_lock(1)', 'SELECT pg_sleep(600)' ], name => 'keeper');
	wait_for($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND granted", 'the gate is closed');
}

sub open_gate
{
	my ($node) = @_;

	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keeper'");
	end_session($keeper);
}

# Waits until a session stands at the gate.
sub at_gate
{
	my ($node, $name) = @_;

	wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$name' AND wait_event = 'PgSleep'",
		'the job is in the middle of a batch');
}

1;
