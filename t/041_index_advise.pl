# Advice beside other sessions, on a standby, in a limited time, and built as it says.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "autovacuum = off\njit = off");
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE owner LOGIN;
CREATE SCHEMA shop AUTHORIZATION owner;
ALTER ROLE owner SET search_path = shop;
SET ROLE owner;
SET search_path = shop;
CREATE TABLE orders (id integer PRIMARY KEY, next integer, kind integer, tags text[], data jsonb);
INSERT INTO orders SELECT i, i * 7919 % 20000 + 1, i % 50, ARRAY['t' || i % 1000], '{}' FROM generate_series(1, 20000) AS i;
CREATE TABLE others AS SELECT * FROM orders;
CREATE TABLE events (id integer, at date) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO events SELECT i, date '2026-01-01' + i % 59 FROM generate_series(1, 20000) AS i;
VACUUM ANALYZE orders, others, events;
SQL

my @as_owner = (extra_params => [ '-U', 'owner' ]);

# ask ANSWER QUERIES [ARGUMENTS]: what is asked of the advice, in a transaction that is read only.
sub ask
{
	my ($node, $answer, $queries, $arguments) = @_;

	$arguments //= 'time_limit => NULL';
	return $node->safe_psql('postgres',
		"BEGIN READ ONLY;\nSELECT $answer FROM architect.index_advise(queries => $queries, $arguments)", @as_owner);
}

# A standby answers as the primary does.
my $standby = PostgreSQL::Test::Cluster->new('standby');
$primary->backup('copy');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my $queries = q{ARRAY['SELECT * FROM orders WHERE next = 5', 'SELECT * FROM orders WHERE tags @> ''{t5}''',
	'UPDATE others SET kind = 1 WHERE next = 5', 'SELECT * FROM events WHERE id = 5', 'SELEC']};
my $rows = q{count(*) FILTER (WHERE action = 'create'), string_agg(reason, ' ') FILTER (WHERE action = 'skip')};
foreach my $node ($primary, $standby)
{
	is(ask($node, $rows, $queries), '4|syntax error at or near "SELEC"', 'advice on a ' . $node->name);
}
$standby->stop;

# What is advised is made while others write, and undone: the schema is what it was.
sub dump_schema
{
	my ($out) = run_command([ 'pg_dump', '-s', '-h', $primary->host, '-p', $primary->port, 'postgres' ]);
	$out =~ s/^\\(un)?restrict .*$//mg;
	return $out;
}

my $before = dump_schema();
my @made = split /\n/, $primary->safe_psql('postgres',
	"SELECT statement FROM architect.index_advise(queries => $queries, time_limit => NULL) WHERE action = 'create' ORDER BY rank", @as_owner);
my @undone = split /\n/, $primary->safe_psql('postgres',
	"SELECT undo FROM architect.index_advise(queries => $queries, time_limit => NULL) WHERE action = 'create' ORDER BY rank", @as_owner);
$primary->safe_psql('postgres', join("\n", @made), @as_owner);
isnt(dump_schema(), $before, 'the statements make indexes');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_index WHERE NOT indisvalid'), '0', 'all of them are valid');
$primary->safe_psql('postgres', 'VACUUM ANALYZE orders, others, events', @as_owner);
is(ask($primary, "count(*) FILTER (WHERE action = 'create')", $queries), '0', 'there is nothing to add to them');
$primary->safe_psql('postgres', join("\n", @undone), @as_owner);
is(dump_schema(), $before, 'what undoes them leaves nothing');

# Joins of 40 tables, one after the other and in any order, and so many queries that time is over
# before they are explored, the dearest first.  Planning that has begun is not ended: the planner sees
# more indexes then, and takes longer than for the query as it is.
my $chain = 'SELECT count(*) FROM orders AS t1' . join('', map { my $one = $_ - 1; " JOIN orders AS t$_ ON t$_.id = t$one.next" } 2 .. 40)
	. ' WHERE t1.kind = 5 AND t20.next = 7';
my $star = 'SELECT count(*) FROM ' . join(', ', map { "orders AS t$_" } 1 .. 40) . ' WHERE '
	. join(' AND ', map { "t$_.id = t1.next AND t$_.kind = $_" } 2 .. 40);
my $limit = 2;
my $start = time;
$primary->safe_psql('postgres', "EXPLAIN $star", @as_owner);
my $slack = 1 + 12 * (time - $start);

foreach my $case ([ 'a chain of 40', "ARRAY['$chain']" ], [ 'a star of 40', "ARRAY['$star']" ],
	[ '50 chains of 40', "array_fill('$chain'::text, '{50}')" ],
	[ '20,000 queries', q{ARRAY(SELECT CASE i WHEN 1000 THEN 'SELECT * FROM others WHERE next = 5' ELSE
		'SELECT * FROM orders AS a JOIN orders AS b ON b.id = a.next WHERE a.kind = 5 AND b.next < ' || i END FROM generate_series(1, 20000) AS i)},
		'ARRAY(SELECT CASE i WHEN 1000 THEN 1e6 ELSE 1 END FROM generate_series(1, 20000) AS i)',
		q{(array_agg(relation::text ORDER BY rank))[1] || ', the dearest', bool_or(reason ~ '^time_limit was over before')},
		'others, the dearest|t' ])
{
	my ($name, $many, $weights, $columns, $expected) = @$case;
	$start = time;
	my $answer = ask($primary, $columns // 'count(*) >= 0', $many, "time_limit => '${limit}s', weights => " . ($weights // 'NULL'));
	my $took = time - $start;

	is($answer, $expected // 't', "$name: an answer");
	cmp_ok($took, '<', $limit + $slack, "$name: in time");
	note sprintf('%s: %.1f s', $name, $took);
}

# Others that read and write are not in the way; who has a table to himself makes a query wait,
# as planning does, and lock_timeout makes that a row.
my $other = $primary->background_psql('postgres', @as_owner);
$other->query_safe("BEGIN; INSERT INTO orders VALUES (0); LOCK others IN SHARE UPDATE EXCLUSIVE MODE");
is(ask($primary, $rows, $queries), '4|syntax error at or near "SELEC"', 'advice beside others that write');
$other->query_safe('LOCK others IN ACCESS EXCLUSIVE MODE');
is( $primary->safe_psql('postgres', <<'SQL', @as_owner),
SET lock_timeout = '100ms';
SELECT relation, query_number, reason FROM architect.index_advise(time_limit => NULL, queries => ARRAY[
    'SELECT * FROM others WHERE next = 5', 'SELECT * FROM orders WHERE next = 5', 'SELECT * FROM orders JOIN others USING (id)'])
WHERE action = 'skip' ORDER BY query_number;
SQL
	"|1|canceling statement due to lock timeout\n|3|canceling statement due to lock timeout", 'who waits for a lock is left out');
$other->query_safe('COMMIT');
$other->quit;

# A table may be gone, or changed, between two calls of one session.
my $session = $primary->background_psql('postgres', @as_owner);
my $count = "SELECT string_agg(action, ' ') FROM architect.index_advise(queries => '{SELECT * FROM others WHERE next = 5}')";
is($session->query_safe($count), 'create', 'an index on a table');
$primary->safe_psql('postgres', 'CREATE INDEX other_next ON others (next)', @as_owner);
is($session->query_safe($count), '', 'none, when it is there');
$primary->safe_psql('postgres', 'ALTER TABLE others DROP COLUMN next', @as_owner);
is($session->query_safe($count), 'skip', 'the column is gone');
$primary->safe_psql('postgres', 'DROP TABLE others', @as_owner);
is($session->query_safe($count), 'skip', 'the table is gone');

# Who is canceled, is; the session goes on.
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $canceled = $primary->background_psql('postgres', @as_owner, on_error_stop => 0);
my $asked = $canceled->query_safe('SELECT pg_backend_pid()');
$canceled->query_until(qr/begun/, "\\echo begun\nSELECT FROM architect.index_advise(queries => array_fill('$star'::text, '{2000}'), time_limit => NULL);\n");
$primary->poll_query_until('postgres', "SELECT pg_cancel_backend($asked) FROM pg_stat_activity WHERE pid = $asked AND state = 'active' AND now() - query_start > '0.5s'");
is($canceled->query('SELECT 1'), '1', 'the session goes on');
like($canceled->{stderr}, qr/canceling statement due to user request/, 'the call does not');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE relation >= 16384'), '0', 'no lock stays');
$canceled->quit;
$session->quit;
$primary->stop;
done_testing();
