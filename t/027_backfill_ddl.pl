# The table is altered while a job is on it, partitions come and go, and the job is paused:
# nothing is blocked for longer than a batch, nothing is missed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_architect; CREATE ROLE another');
gate($node);

# Alters a table while a batch of a job is in the middle of it, and gives what the call said.
sub alter_meanwhile
{
	my ($ddl, %option) = @_;
	my $walk = $option{walk} // 'block';

	$node->safe_psql('postgres', <<'SQL');
DROP TABLE IF EXISTS thing CASCADE;
CREATE TABLE thing (id int PRIMARY KEY, v int, note text);
INSERT INTO thing SELECT i, NULL, repeat('x', 50) FROM generate_series(1, 20000) AS i;
SQL
	close_gate($node);
	my $call = begin_session($node,
		"CALL architect.backfill('thing', set => 'v = gate(id = 9000) + 1', filter => 'v IS NULL', walk => '$walk', batch_time => '5ms')",
		name => 'job');
	at_gate($node, 'job');
	my $altering = begin_session($node, $ddl, name => 'altering');
	wait_for($node, "SELECT bool_or(wait_event_type = 'Lock') FROM pg_stat_activity WHERE application_name = 'altering'", "waits: $ddl");
	open_gate($node);
	my (undef, $err) = end_session($altering);
	is($err, '', "is done: $ddl");
	(undef, $err) = end_session($call);
	return $err;
}

my %stopped = (
	'ALTER TABLE thing ADD extra int' => qr/column "extra"/,
	'ALTER TABLE thing DROP note' => qr/column "note"/,
	'ALTER TABLE thing RENAME v TO w' => qr/column "[vw]"/,
	'ALTER TABLE thing ALTER v TYPE bigint' => qr/column "v"/,
	'ALTER TABLE thing ADD CONSTRAINT positive CHECK (id > 0)' => qr/constraint "positive"/,
	'CREATE TRIGGER t BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' => qr/trigger "t"/,
	'ALTER TABLE thing RENAME TO thing_2' => qr/thing_2/,
	'ALTER TABLE thing OWNER TO another' => qr/owner|another/,
	'DROP TABLE thing' => qr/dropped|no longer|does not exist/);
foreach my $ddl (sort keys %stopped)
{
	my $err = alter_meanwhile($ddl, walk => $ddl =~ /note/ ? 'key' : 'block');
	like($err, qr/ERROR:  (?!XX000)/, "stops the job: $ddl");
	like($err, $stopped{$ddl}, "and it says why: $ddl");
	is( $node->safe_psql('postgres', 'SELECT state, error IS NOT NULL FROM architect.backfill_jobs ORDER BY job DESC LIMIT 1'),
		'failed|t', "so does the view: $ddl");
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS thing_2');
}
foreach my $ddl ('CREATE INDEX ON thing (note)', 'VACUUM FULL thing', 'TRUNCATE thing', 'REINDEX TABLE thing',
	'CLUSTER thing USING thing_pkey')
{
	foreach my $walk (qw(block key))
	{
		my $err = alter_meanwhile($ddl, walk => $walk);
		unlike($err, qr/ERROR/, "does not stop a job in $walk order: $ddl");
		is($node->safe_psql('postgres', 'SELECT count(*) FROM thing WHERE v IS NULL'), '0', "and it misses nothing: $ddl");
	}
}

# Partitions that come are done too, those that go are left alone.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE root (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE root_1 PARTITION OF root FOR VALUES FROM (0) TO (1000);
CREATE TABLE root_2 PARTITION OF root FOR VALUES FROM (1000) TO (2000);
CREATE TABLE root_3 (v int, gone int, id int);
ALTER TABLE root_3 DROP gone;
INSERT INTO root SELECT i FROM generate_series(1, 1999) AS i;
INSERT INTO root_3 SELECT NULL, i FROM generate_series(2000, 2999) AS i;
SQL
close_gate($node);
my $call = begin_session($node, "CALL architect.backfill('root', set => 'v = gate(id = 500)', filter => 'v IS NULL')", name => 'job');
at_gate($node, 'job');
$node->safe_psql('postgres', 'ALTER TABLE root ATTACH PARTITION root_3 FOR VALUES FROM (2000) TO (3000)');
my $detach = begin_session($node, 'ALTER TABLE root DETACH PARTITION root_2', name => 'detaching');
open_gate($node);
my (undef, $err) = end_session($detach);
is($err, '', 'a partition is detached');
(undef, $err) = end_session($call);
unlike($err, qr/ERROR/, 'a job goes on with the partitions that there are');
is($node->safe_psql('postgres', 'SELECT tableoid::regclass, count(*) FROM root WHERE v IS NULL GROUP BY 1'), '', 'and misses no row of them');

# Runs a check several times beside a stream of transactions; a session that holds nothing
# back has no snapshot in most of them, nor a lock on the table: it looks now and then whether
# it still has to wait.
my $calm = <<'SQL';
SELECT count(*)
FROM pg_stat_activity AS session
WHERE application_name LIKE 'calm%' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL
    OR EXISTS (SELECT FROM pg_locks WHERE pg_locks.pid = session.pid AND relation = 'calm'::regclass))
SQL
sub is_calm
{
	my ($when) = @_;
	my $seen = 0;

	foreach (1 .. 20)
	{
		$seen += $node->safe_psql('postgres', $calm);
		$node->safe_psql('postgres', "INSERT INTO traffic VALUES (1)");
	}
	cmp_ok($seen, '<', 5, "$when it holds no snapshot and no lock on the table");
	my $dead = $node->safe_psql('postgres', 'DELETE FROM traffic; VACUUM traffic; SELECT count(*) FROM traffic');
	is($node->safe_psql('postgres', "SELECT pg_relation_size('traffic')"), '0', "$when vacuum removes what is deleted");
	($node->psql('postgres', "SET lock_timeout = '1s'; BEGIN; LOCK TABLE calm; COMMIT; CREATE INDEX ON calm (id)"))[0]
	  && fail("$when the table can be locked");
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE traffic (i int);
CREATE TABLE brake (on_ boolean);
INSERT INTO brake VALUES (true);
CREATE TABLE calm (id int PRIMARY KEY, v int);
INSERT INTO calm SELECT i FROM generate_series(1, 5000) AS i;
SQL
$call = begin_session($node,
	"CALL architect.backfill('calm', set => 'v = id', filter => 'v IS NULL', batch_time => '5ms', throttle_query => 'SELECT on_ FROM public.brake')",
	name => 'calm');
wait_for($node, "SELECT waiting_for LIKE '%throttle%' FROM architect.backfill_progress WHERE target::text = 'calm'", 'a job waits for the throttle query');
my $since = $node->safe_psql('postgres', "SELECT waiting_since FROM architect.backfill_progress WHERE target::text = 'calm'");
is_calm('while a job waits');
is($node->safe_psql('postgres', "SELECT waiting_since FROM architect.backfill_progress WHERE target::text = 'calm'"), $since, 'it is shown since when');
my $job = $node->safe_psql('postgres', "SELECT job FROM architect.backfill_jobs WHERE target::text = 'calm'");
$node->safe_psql('postgres', "SELECT architect.backfill_pause($job); UPDATE brake SET on_ = false");
wait_for($node, "SELECT state = 'paused' FROM architect.backfill_jobs WHERE job = $job", 'it is paused');
sleep 2;
is_calm('while a job is paused');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM calm WHERE v IS NULL'), '>', 0, 'nothing happens while it is paused');
$node->safe_psql('postgres', "SELECT architect.backfill_resume($job)");
(undef, $err) = end_session($call);
unlike($err, qr/ERROR/, 'resumed it goes on in the session that called it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM calm WHERE v IS NULL'), '0', 'and comes to its end');

# Cancelled, it ends, and says so.
$node->safe_psql('postgres', 'UPDATE brake SET on_ = true');
$call = begin_session($node,
	"CALL architect.backfill('calm', set => 'v = -id', filter => 'v > 0', batch_time => '5ms', throttle_query => 'SELECT on_ FROM public.brake')");
wait_for($node, "SELECT waiting_for IS NOT NULL FROM architect.backfill_progress WHERE target::text = 'calm' AND job > $job", 'a job waits');
$job = $node->safe_psql('postgres', "SELECT max(job) FROM architect.backfill_jobs");
$node->safe_psql('postgres', "SELECT architect.backfill_cancel($job)");
(undef, $err) = end_session($call);
isnt($err, '', 'a call that is cancelled says so');
is($node->safe_psql('postgres', "SELECT state, finished_at IS NOT NULL FROM architect.backfill_jobs WHERE job = $job"), 'cancelled|t', 'so does the view');

$node->stop;
done_testing();
