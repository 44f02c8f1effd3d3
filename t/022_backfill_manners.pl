# Between batches a job waits for whatever its limits are about, says in backfill_progress
# what for, and goes on when it is over or the limit is changed.  It is never blind in silence.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<'CONF');
archive_mode = on
archive_command = 'true'
autovacuum_naptime = 1s
max_worker_processes = 16
max_prepared_transactions = 2
CONF
$node->start;
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('replica');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

# slow() makes a job of 200 rows last for a few seconds.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE clerk LOGIN;
CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN n; END $$;
CREATE TABLE switch (closed boolean);
INSERT INTO switch VALUES (false);
GRANT SELECT ON switch TO clerk;
SQL

sub wait_for
{
	my ($condition, $what) = @_;

	return ok($node->poll_query_until('postgres', "SELECT coalesce(($condition)::boolean, false)"), $what);
}

# Starts a psql that runs commands, one after the other, and is gone when they end.
sub begin_session
{
	my ($name, @commands) = @_;

	return IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') . " application_name=$name", map { ('-c', $_) } @commands ],
		'<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
}

# Starts a job over a new table, as a superuser or as clerk.
my $tables = 0;

sub start_job
{
	my ($rows, $arguments, $user) = @_;
	my $table = 'orders_' . ++$tables;

	$user //= 'postgres';
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE $table (id int PRIMARY KEY, note text, n int) WITH (autovacuum_enabled = off);
INSERT INTO $table SELECT i, repeat('x', 100) FROM generate_series(1, $rows) AS i;
ALTER TABLE $table OWNER TO $user;
SQL
	my $set = $rows > 200 ? 'n = id' : 'n = slow(id)';
	my ($status, $job, $said) = $node->psql('postgres',
		"SELECT architect.backfill_start('$table', set => '$set', filter => 'n IS NULL', batch_time => '50ms', $arguments)",
		extra_params => [ '-U', $user ]);
	note $said if $said;
	return $status == 0 ? $job : undef, $said, $table;
}

sub waits
{
	my ($job, $pattern, $what) = @_;

	return wait_for(
		"SELECT state = 'waiting' AND waiting_for ~ '$pattern' AND waiting_since IS NOT NULL FROM architect.backfill_progress WHERE job = $job",
		$what)
	  || diag $node->safe_psql('postgres', "SELECT * FROM architect.backfill_progress WHERE job = $job");
}

sub ends
{
	my ($job, $state, $what) = @_;

	return wait_for("SELECT state = '$state' FROM architect.backfill_jobs WHERE job = $job", $what)
	  || diag $node->safe_psql('postgres', "SELECT * FROM architect.backfill_jobs WHERE job = $job");
}

sub rows_done
{
	return $node->safe_psql('postgres', "SELECT count(n) FROM $_[0]");
}

sub configure
{
	$node->safe_psql('postgres', "SELECT architect.backfill_configure($_[0], $_[1])");
}

sub make_wal
{
	$node->safe_psql('postgres', 'CREATE TABLE bulk AS SELECT repeat(i::text, 50) FROM generate_series(1, 5000) AS i; DROP TABLE bulk');
}

my ($job, $said, $table);

# A replica that has come to a halt, in time.
$node->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
($job, $said, $table) = start_job(200, "max_lag => '1s'");
waits($job, '^replica "replica" is [0-9.]+ m?s behind \(max_lag 1 s\)$', 'a job waits for a replica that is late');
my $done = rows_done($table);
cmp_ok($done, '<', 200, 'it has not come to its end');
$node->safe_psql('postgres', 'SELECT pg_sleep(1.5)');
is(rows_done($table), $done, 'and comes no further');
$node->safe_psql('postgres', 'SELECT txid_current()') foreach 1 .. 5;
wait_for(
	"SELECT bool_and(backend_xmin IS NULL) FROM pg_stat_activity WHERE application_name = 'backfill $job'",
	'it holds no snapshot while it waits');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ends($job, 'done', 'it goes on when the replica does');
is(rows_done($table), 200, 'to its end');
is($node->safe_psql('postgres', "SELECT waiting_for IS NULL AND waiting_since IS NULL FROM architect.backfill_progress WHERE job = $job"),
	't', 'and waits for nothing any more');

# The same in bytes, and a limit that is changed, or a job that is stopped, while it waits.
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
make_wal();
($job, $said, $table) = start_job(1000, "max_lag => '0', max_lag_bytes => 100000");
waits($job, '^replica "replica" is [0-9]+ kB behind \(max_lag_bytes 98 kB\)$', 'a job waits for a replica that has much to do');
is(rows_done($table), 0, 'before its first batch');
$node->safe_psql('postgres', "SELECT architect.backfill_pause($job)");
ends($job, 'paused', 'it can be paused while it waits');
$node->safe_psql('postgres', "SELECT architect.backfill_resume($job)");
waits($job, '^replica', 'and waits again when it is resumed');
configure($job, 'max_lag_bytes => 0');
ends($job, 'done', 'a limit that is lifted lets it go on');
($job) = start_job(1000, "max_lag => '0', max_lag_bytes => 100000");
waits($job, '^replica', 'the next one waits');
$node->safe_psql('postgres', "SELECT architect.backfill_cancel($job)");
ends($job, 'cancelled', 'a job can be cancelled while it waits');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$node->wait_for_catchup($standby);

# A logical slot that nobody reads.
$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('reader', 'pgoutput')");
make_wal();
($job) = start_job(1000, 'max_slot_bytes => 100000');
waits($job, '^slot "reader" is [0-9]+ kB behind \(max_slot_bytes 98 kB\)$', 'a job waits for the reader of a slot');
$node->safe_psql('postgres', "SELECT pg_replication_slot_advance('reader', pg_current_wal_flush_lsn())");
ends($job, 'done', 'it goes on when that has read');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('reader')");

# An archiver that fails, and that has stored a backup's history last, which tells nothing.
$node->safe_psql('postgres', $_)
  foreach "ALTER SYSTEM SET archive_command = 'false'", 'SELECT pg_reload_conf()', ('SELECT txid_current(), pg_switch_wal()') x 4;
($job) = start_job(1000, 'max_archive_queue => 2');
waits($job, '^archiver (fails, and )?is [0-9]+ segments behind \(max_archive_queue 2\)$', 'a job waits for the archiver');
waits($job, '^archiver fails', 'and says that it fails');
$node->safe_psql('postgres', $_) foreach "ALTER SYSTEM SET archive_command = 'true'", 'SELECT pg_reload_conf()';
ends($job, 'done', 'it goes on when that works again');

# Transactions: one of a session, one that no session has.
my $session = begin_session('sleeper', 'BEGIN', 'SELECT txid_current()', 'SELECT pg_sleep(600)');
wait_for("SELECT now() - xact_start > '1.5s' FROM pg_stat_activity WHERE application_name = 'sleeper'", 'a transaction is old');
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'sleeper'");
($job, $said, $table) = start_job(1000, "max_transaction_age => '1s'");
waits($job, "^transaction of process $pid holds back vacuum for [0-9.]+ s .max_transaction_age 1 s.\$",
	'a job waits for an old transaction');
is(rows_done($table), 0, 'which it knows to be older than itself');
my ($blind) = start_job(200, "max_transaction_age => '1s'", 'clerk');
waits($blind, '^a transaction holds back vacuum', 'where the role may not see whose it is, it learns of it');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$session->finish;
ends($_, 'done', 'it goes on when that has ended') foreach $job, $blind;
$node->safe_psql('postgres', "BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'forgotten'");
($job) = start_job(200, "max_transaction_age => '1s'");
waits($job, '^prepared transaction "forgotten" holds back vacuum', 'a prepared transaction counts as well');
configure($job, "max_transaction_age => '1 day'");
ends($job, 'done', 'unless the limit is set higher');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'forgotten'");

# Sessions.
my @sessions = map { begin_session('sleeper', 'SELECT pg_sleep(600)') } 1 .. 3;
wait_for("SELECT count(*) = 3 FROM pg_stat_activity WHERE application_name = 'sleeper'", 'three sessions are active');
($job) = start_job(1000, 'max_active_sessions => 2');
waits($job, '^[0-9]+ sessions are active \(max_active_sessions 2\)$', 'a job waits while too many sessions are active');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sleeper'");
$_->finish foreach @sessions;
ends($job, 'done', 'it goes on when they are done');

# Autovacuum of the table, or of a partition, but not for ever.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parted (id int PRIMARY KEY, note text, n int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000000)
    WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,
          autovacuum_vacuum_cost_limit = 1);
INSERT INTO parted SELECT i, repeat('x', 100) FROM generate_series(1, 50000) AS i;
DELETE FROM parted WHERE id % 100 > 1;
SQL
wait_for("SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE relid = 'parted_1'::regclass", 'autovacuum is at work');
$job = $node->safe_psql('postgres',
	"SELECT architect.backfill_start('parted', set => 'n = id', filter => 'n IS NULL', max_vacuum_wait => '3s')");
waits($job, '^autovacuum of table "parted_1" is at work \(max_vacuum_wait 3 s\)$', 'a job gives way to autovacuum');
ends($job, 'done', 'but no longer than the limit says');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'parted_1'::regclass"), '1',
	'for autovacuum can take its time');
$node->safe_psql('postgres', 'DROP TABLE parted');

# The user's own query, as the job's role and under the settings of the call.
($job) = start_job(200, q(throttle_query => 'SELECT closed FROM switch'), 'clerk');
$node->safe_psql('postgres', 'UPDATE switch SET closed = true');
waits($job, '^throttle query answers true$', 'a job waits while its throttle query says so');
configure($job, q(throttle_query => 'SELECT NOT closed FROM switch'));
ends($job, 'done', 'another query takes its place while it waits');
($job) = start_job(1000, q(throttle_query => 'SELECT pg_sleep(60) IS NULL'));
waits($job, '^throttle query takes more than 5 s$', 'a query that does not come to an end is a reason to wait');
$node->safe_psql('postgres', "SELECT architect.backfill_cancel($job)");
ends($job, 'cancelled', 'the job can be cancelled then');
($job) = start_job(200, q(throttle_query => 'SELECT closed FROM switch WHERE 1 / (SELECT count(*) FROM switch) > 0'), 'clerk');
waits($job, '^throttle query', 'a job waits');
$node->safe_psql('postgres', 'DELETE FROM switch');
ends($job, 'failed', 'and fails where the query does');
like($node->safe_psql('postgres', "SELECT error FROM architect.backfill_jobs WHERE job = $job"),
	qr/division by zero.*throttle query/s, 'with the error of the query');

# In the foreground likewise.
$node->safe_psql('postgres', 'INSERT INTO switch VALUES (true); UPDATE orders_1 SET n = NULL');
$session = begin_session('caller',
	"CALL architect.backfill('orders_1', set => 'n = 1', filter => 'n IS NULL', throttle_query => 'SELECT closed FROM switch')");
wait_for("SELECT count(*) = 1 FROM architect.backfill_jobs WHERE assignment = 'n = 1'", 'a job in the foreground');
$job = $node->safe_psql('postgres', "SELECT job FROM architect.backfill_jobs WHERE assignment = 'n = 1'");
waits($job, '^throttle query', 'waits as well');
$node->safe_psql('postgres', 'DELETE FROM switch');
$session->finish;
ends($job, 'done', 'and goes on in its session');

# WAL by the second, shared by the workers of a job.
my ($begin, $at) = ($node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'), time());
($job) = start_job(20000, 'max_wal_rate => 1000000, workers => 2');
waits($job, '^WAL comes too fast \(max_wal_rate 977 kB a second\)$', 'a job keeps to its rate of WAL');
ends($job, 'done', 'and comes to its end');
my $wal = $node->safe_psql('postgres', "SELECT rows_done * wal_bytes_per_row FROM architect.backfill_progress WHERE job = $job");
my $rate = $wal / (time() - $at);
cmp_ok($rate, '<', 1_500_000, "having written $rate bytes a second");

# What the role may not see.
my ($refused, $why) = start_job(200, "max_lag => '5s'", 'clerk');
is($refused, undef, 'a limit that was asked for and cannot be watched is refused');
like($why, qr/ERROR: +role "clerk" may not see the lag of replicas.*HINT: .*GRANT pg_read_all_stats TO clerk/s, 'with the GRANT to ask for');
($job, $said) = start_job(1000, 'max_lag_bytes => 0', 'clerk');
like($said, qr/NOTICE: +max_lag \(10 s\) is not watched: role "clerk" may not see the lag of replicas/, 'a default limit is left out');
ends($job, 'done', 'and the job done');
is($node->safe_psql('postgres', "SELECT detail ~ 'max_lag' FROM architect.backfill_events WHERE job = $job AND event = 'left out'"),
	't', 'its events say so');
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO clerk; INSERT INTO switch VALUES (true)');
($job) = start_job(200, q(max_lag => '5s', throttle_query => 'SELECT closed FROM switch'), 'clerk');
waits($job, '^throttle query', 'with the GRANT it is watched');
$node->safe_psql('postgres', 'REVOKE pg_read_all_stats FROM clerk');
ends($job, 'failed', 'a job that has lost sight of a limit does not go on blind');
like($node->safe_psql('postgres', "SELECT error FROM architect.backfill_jobs WHERE job = $job"),
	qr/may not see the lag of replicas/, 'and says so');

done_testing();
