# A restored copy and a promoted standby have the jobs of the original, and start none of
# them; backfill_resume does.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_architect'\nmax_worker_processes = 16");
$node->start;

my $dumps = PostgreSQL::Test::Utils::tempdir();

# A job that runs, one that is paused, one that waits, one that is done and one that failed,
# of an owner who is nobody special.
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE DATABASE shop');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA sales AUTHORIZATION clerk;
CREATE TABLE public.brake (on_ boolean);
INSERT INTO brake VALUES (true);
GRANT ALL ON brake TO clerk;
SQL
$node->safe_psql('shop', <<'SQL', extra_params => [ '-U', 'clerk' ]);
SET search_path = sales;
CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN i; END $$;
CREATE TABLE running (id int PRIMARY KEY, v int);
CREATE TABLE paused (id int PRIMARY KEY, v int);
CREATE TABLE braked (id int PRIMARY KEY, v int);
CREATE TABLE done (id int PRIMARY KEY, v int);
CREATE TABLE counted (id int PRIMARY KEY, n int);
CREATE TABLE wrong (id int PRIMARY KEY, v int CHECK (v < 5000));
INSERT INTO running SELECT i FROM generate_series(1, 40000) AS i;
INSERT INTO paused SELECT i FROM generate_series(1, 10000) AS i;
INSERT INTO braked SELECT i FROM generate_series(1, 10000) AS i;
INSERT INTO done SELECT i FROM generate_series(1, 100) AS i;
INSERT INTO counted SELECT i, 0 FROM generate_series(1, 40000) AS i;
INSERT INTO wrong SELECT i FROM generate_series(1, 5010) AS i;
SELECT architect.backfill_start('running', set => 'v = sales.slow(id)', filter => 'v IS NULL', batch_time => '20ms');
SELECT architect.backfill_start('paused', set => 'v = sales.slow(id)', filter => 'v IS NULL', batch_time => '20ms');
SELECT architect.backfill_start('braked', set => 'v = id', filter => 'v IS NULL', throttle_query => 'SELECT on_ FROM public.brake');
SELECT architect.backfill_start('counted', set => 'n = n + sales.slow(1)', batch_time => '20ms');
SELECT architect.backfill_start('wrong', set => 'v = id', filter => 'v IS NULL', on_error => 'skip', max_rejects => 100);
CALL architect.backfill('done', set => 'v = id', filter => 'v IS NULL');
SQL
my $id = sub { $node->safe_psql('shop', "SELECT job FROM architect.backfill_jobs WHERE target = 'sales.$_[0]'::regclass") };
my %job = map { $_ => $id->($_) } qw(running paused braked done counted wrong);
ok( $node->poll_query_until('shop', "SELECT count(*) = 3 FROM architect.backfill_progress " .
		"WHERE job IN ($job{running}, $job{paused}, $job{counted}) AND rows_done > 0"), 'jobs work');
ok($node->poll_query_until('shop', "SELECT state = 'done' FROM architect.backfill_jobs WHERE job = $job{wrong}"), 'one has ended');
ok($node->poll_query_until('shop', "SELECT waiting_for IS NOT NULL FROM architect.backfill_progress WHERE job = $job{braked}"), 'one waits');
$node->safe_psql('shop', "SELECT architect.backfill_pause($job{paused})", extra_params => [ '-U', 'clerk' ]);
ok($node->poll_query_until('shop', "SELECT state = 'paused' FROM architect.backfill_jobs WHERE job = $job{paused}"), 'one is paused');
my $rejects = 'SELECT job, record_id, sqlstate, message, rejected_at FROM architect.backfill_rejects ORDER BY 1, 2';
is( $node->safe_psql('shop', "SELECT count(*), min(record_id), min(sqlstate) FROM architect.backfill_rejects WHERE job = $job{wrong}"),
	'11|5000|23514', 'the one that has ended has rejected rows');

my $rejected = $node->safe_psql('shop', $rejects);

# What is left, so that it can be seen whether anything moves.
my $left = <<'SQL';
SELECT count(*) FILTER (WHERE v IS NULL), (SELECT count(*) FROM sales.paused WHERE v IS NULL),
       (SELECT count(*) FROM sales.braked WHERE v IS NULL), (SELECT sum(n) FROM sales.counted)
FROM sales.running
SQL

# In a copy nothing runs, and nothing starts when the server starts; what is left can be done.
sub check_copy
{
	my ($server, $database, $how, $restart) = @_;
	my $before = $server->safe_psql($database, $left);
	my $query = sub { $server->safe_psql($database, $_[0], extra_params => [ '-U', 'clerk' ]) };

	$server->restart if $restart;
	sleep 2;
	is($server->safe_psql($database, $left), $before, "$how: no row is changed");
	is( $server->safe_psql($database, "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND application_name LIKE 'backfill %'"),
		'0', "$how: no worker is there");
	is( $query->('SELECT target::text, state FROM architect.backfill_jobs ORDER BY job'),
		"sales.running|waiting\nsales.paused|paused\nsales.braked|waiting\nsales.counted|waiting\nsales.wrong|done\nsales.done|done",
		"$how: the jobs are there");
	is( $query->("SELECT count(*) FILTER (WHERE waiting_for LIKE '%resume%') FROM architect.backfill_progress WHERE state = 'waiting'"),
		'3', "$how: those that do not run say that they wait to be resumed");
	is($query->($rejects), $rejected, "$how: the rejected rows are there");
	is( $query->("SELECT count(*) > 0 FROM architect.backfill_events WHERE job = $job{paused}"), 't', "$how: so are the events");

	$query->(<<'SQL');
UPDATE public.brake SET on_ = false;
CREATE OR REPLACE FUNCTION sales.slow(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN i; END';
SELECT architect.backfill_resume(job) FROM architect.backfill_jobs WHERE state IN ('paused', 'waiting');
SQL
	ok( $server->poll_query_until($database, 'SELECT count(*) = 6 FROM architect.backfill_jobs WHERE state = \'done\''), "$how: resumed, the jobs end")
	  or diag $query->('SELECT job, state, error FROM architect.backfill_jobs');
	is( $server->safe_psql($database, $left), '0|0|0|40000', "$how: each row is done, in key order once");
	my $new = $query->("SELECT architect.backfill_start('sales.done', set => 'v = 0', filter => 'v > 0')");
	cmp_ok($new, '>', (sort { $b <=> $a } values %job)[0], "$how: a new job has a new number");
	ok( $server->poll_query_until($database, "SELECT state = 'done' FROM architect.backfill_jobs WHERE job = $new"), "$how: and is done");
}

# A standby, and dumps, are made while jobs run.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(script archive);
$node->command_ok([ 'pg_dump', '-f', "$dumps/shop.sql", '-d', $node->connstr('shop') ], 'pg_dump as a script');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/shop.dump", '-d', $node->connstr('shop') ], 'pg_dump as an archive');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dumps/shop.sql", '-d', $node->connstr('script') ],
	'psql restores it');
$node->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $node->connstr('archive'), "$dumps/shop.dump" ], 'pg_restore too');

# On the standby nothing runs and nothing can be asked for.
$node->wait_for_catchup($standby);
foreach my $refused (
	"SELECT architect.backfill_resume($job{paused})", "SELECT architect.backfill_cancel($job{paused})",
	"SELECT architect.backfill_retry($job{wrong})", "CALL architect.backfill('sales.done', set => 'v = 0')",
	"SELECT architect.backfill_start('sales.done', set => 'v = 0')", "SELECT architect.backfill_configure($job{paused}, max_rejects => 1)")
{
	my ($code, $out, $err) = $standby->psql('shop', $refused);
	like($err, qr/ERROR:  cannot execute .* (?:during recovery|in a read-only transaction)/, "not on a standby: $refused");
}
is( $standby->safe_psql('shop', "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backfill %'"),
	'0', 'no worker is there on a standby');
is($standby->safe_psql('shop', "SELECT state FROM architect.backfill_jobs WHERE job = $job{paused}"), 'paused', 'it shows the jobs');

check_copy($node, 'script', 'script', 1);
cmp_ok($node->safe_psql('shop', 'SELECT count(*) FROM architect.backfill_events WHERE job = ' . $job{running}),
	'>', 0, 'script: the original goes on meanwhile');
check_copy($node, 'archive', 'archive');

# The original is lost.
$node->stop('immediate');
$standby->promote;
check_copy($standby, 'shop', 'promoted standby', 1);

$standby->stop;
done_testing();
