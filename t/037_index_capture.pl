# A preloaded library captures statements with their values, shows them to their roles, keeps
# to its memory, and harms no statement.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_architect'
architect.index_capture_size = 64
architect.index_capture_rate = 1
jit = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql($_, 'CREATE EXTENSION pg_architect') foreach 'postgres', 'other';
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE ROLE clerk LOGIN IN ROLE shop;
CREATE ROLE stranger LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats;
CREATE SCHEMA sales AUTHORIZATION shop;
SET ROLE shop;
CREATE TABLE sales.orders (id int PRIMARY KEY, note text, at timestamptz, total float8);
INSERT INTO sales.orders SELECT n, 'note' FROM generate_series(1, 100) AS n;
SQL

sub as { my ($role) = @_; return (extra_params => [ '-U', $role ]) }

# What was captured of statements with this word in them, as a role sees it.
sub captured
{
	my ($word, %how) = @_;
	$how{order} //= $how{columns} ? 1 : 'statement, parameters::text';
	my $columns = $how{columns} // 'statement, parameters, search_path, seen, calls, stands_for, left_out';

	return $node->safe_psql($how{database} // 'postgres', <<SQL, as($how{role} // 'postgres'));
/* looking */ SELECT $columns FROM architect.index_capture() AS found
WHERE coalesce(statement ~ '$word' AND statement !~ 'looking', left_out ~ '$word')
ORDER BY $how{order}
SQL
}

sub status
{
	my ($columns) = @_;

	return $node->safe_psql('postgres', "SELECT $columns FROM architect.index_capture_status()");
}

sub forget { $node->safe_psql('postgres', 'SELECT architect.index_capture_reset()'); return }

# Texts, values and search_path, whatever the session writes dates like.
$node->safe_psql('postgres', <<'SQL', as('shop'));
SET search_path = sales;
SELECT * FROM orders /* plain */ WHERE id = 5;
 (SELECT id FROM orders /* plain, too */ WHERE id = 6) ;
SET datestyle = german;
SET extra_float_digits = -5;
SET search_path = sales, public;
PREPARE "as" (int, text, timestamptz, float8, numeric(5, 2)) AS /* prepared */ SELECT * FROM orders
    WHERE id = $1 AND note = $2 AND at = $3 AND total = $4 AND id < $5;
EXECUTE "as" (1, 'it''s "odd"', '2026-01-31 00:00Z', 0.1::float8 + 0.2, 1.5);
EXECUTE "as" (NULL, NULL, '2026-01-31 00:00Z', 1, 1);
EXECUTE "as" (NULL, NULL, '2026-01-31 00:00Z', 1, 1);
DEALLOCATE ALL;
PREPARE again AS UPDATE /* prepared again */ orders SET total = 1 WHERE id = $1;
EXECUTE again (7);
DISCARD ALL;
SELECT note FROM sales.orders WHERE /* discarded */ id = 5;
SQL
is(captured('plain'), <<'ROWS' =~ s/\n\z//r, 'a text is that of one statement');
(SELECT id FROM orders /* plain, too */ WHERE id = 6)||sales|1|1|1|
SELECT * FROM orders /* plain */ WHERE id = 5||sales|1|1|1|
ROWS
is(captured('prepared \*/'), <<'ROWS' =~ s/\n\z//r, 'values are written as any session reads them');
/* prepared */ SELECT * FROM orders
    WHERE id = $1 AND note = $2 AND at = $3 AND total = $4 AND id < $5|{1,"it's \"odd\"","2026-01-31 00:00:00+00",0.30000000000000004,1.5}|sales, public|3|3|1|
/* prepared */ SELECT * FROM orders
    WHERE id = $1 AND note = $2 AND at = $3 AND total = $4 AND id < $5|{NULL,NULL,"2026-01-31 00:00:00+00",1,1}|sales, public|3|3|2|
ROWS
is( captured('prepared again'),
	'UPDATE /* prepared again */ orders SET total = 1 WHERE id = $1|{7}|sales, public|1|1|1|',
	'what changes rows is captured');
like(captured('discarded'), qr/\|"\$user", public\|/, 'DISCARD ends no capture');

# Three examples stand for all calls.
$node->safe_psql('postgres', join('', map { "SELECT * FROM sales.orders WHERE total = $_ /* many */;" } 1 .. 10), as('shop'));
is(captured('many', columns => 'count(*), min(seen), max(seen), sum(stands_for)'), '3|10|10|10', 'three examples stand for all');
$node->safe_psql('postgres', 'SELECT pg_sleep(0.05) /* slow */', as('shop'));
is(captured('slow', columns => 'milliseconds BETWEEN 50 AND 5000'), 't', 'the time is that of the run');

# What a client did not send, and what was not run.
forget();
$node->psql('postgres', <<'SQL', as('shop'));
DO $$ BEGIN FOR i IN 1 .. 3 LOOP PERFORM count(*) /* inner */ FROM sales.orders; END LOOP; END $$;
CREATE FUNCTION pg_temp.look() RETURNS SETOF sales.orders LANGUAGE plpgsql AS $$
BEGIN RETURN QUERY SELECT * FROM sales.orders /* inner */; END $$;
SELECT count(*) FROM pg_temp.look() /* outer */;
DO $$ DECLARE row record; BEGIN FOR row IN SELECT * FROM sales.orders /* inner */ LOOP END LOOP; END $$;
EXPLAIN SELECT * FROM sales.orders /* explained */;
EXPLAIN ANALYZE SELECT * FROM sales.orders /* explained */;
CREATE TEMP TABLE copied AS SELECT * FROM sales.orders /* explained */;
BEGIN;
SELECT count(*) FROM sales.orders /* rolled back */;
ROLLBACK;
SELECT 1 / (id - 5) FROM sales.orders /* failed */;
SQL
is(captured($_), '', "$_: not captured") foreach 'inner', 'explained', 'failed';
is(captured($_, columns => 'count(*)'), '1', "$_: captured") foreach 'outer', 'rolled back';

# Too long.
forget();
$node->safe_psql('postgres', "SELECT /* long */ '" . 'x' x 20000 . "'", as('shop'));
$node->safe_psql('postgres', <<'SQL', as('shop'));
PREPARE long (text, int) AS SELECT count(*) /* values */ FROM sales.orders WHERE note = $1 AND id = $2;
EXECUTE long (repeat('x', 9000), 1);
EXECUTE long (repeat('x', 90), 1);
SQL
is(captured('text'), '||||1|1|1|the text is too long' =~ s/^\|//r, 'a text too long is left out, and that is said');
is(captured('values', columns => 'length(parameters[1]), left_out'), "90|\n|the values of its parameters are too long",
	'and so are values');
is(status('long_texts, long_values, failed_values, unclear_texts'), '1|1|0|0', 'they are counted');

# Values that cannot be written end no statement, and no transaction.
$node->safe_psql('postgres', <<'SQL');
CREATE TYPE broken;
CREATE FUNCTION broken_in(cstring) RETURNS broken LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION broken_out(broken) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'trigger_out';
CREATE TYPE broken (INPUT = broken_in, OUTPUT = broken_out, LIKE = int4);
SQL
is($node->safe_psql('postgres', <<'SQL', as('shop')), "1\n1\n2", 'values that cannot be written do no harm');
BEGIN;
PREPARE bad (broken) AS SELECT count(*) /* unwritten */ FROM sales.orders WHERE id = 1 AND $1 IS NOT NULL;
INSERT INTO sales.orders VALUES (1001);
EXECUTE bad ('5');
EXECUTE bad ('5');
INSERT INTO sales.orders VALUES (1002);
COMMIT;
SELECT count(*) FROM sales.orders WHERE id > 1000;
SQL
is(captured('unwritten', columns => 'parameters, seen, left_out'), '|2|the values of its parameters could not be written',
	'and are left out');
is(status('failed_values'), '2', 'they are counted');

# Rights: members of the role that ran it, and who may read all statistics.
forget();
$node->safe_psql('postgres', 'SELECT /* secret */ count(*) FROM sales.orders', as('shop'));
$node->safe_psql('postgres', 'SELECT /* of clerk */ count(*) FROM sales.orders', as('clerk'));
is(captured('secret', role => $_, columns => 'role'), 'shop', "$_ sees it") foreach 'shop', 'clerk', 'watcher', 'postgres';
is(captured('secret', role => 'stranger', columns => 'role'), '', 'a stranger does not');
is(captured('of clerk', role => 'shop', columns => 'role'), '', 'nor does a role see what its member ran');
is(captured('secret', database => 'other'), '', 'it is not shown in another database');
my ($result, $out, $err) = $node->psql('postgres', 'SELECT architect.index_capture_reset()', as('clerk'));
like($err, qr/permission denied for function index_capture_reset/, 'not everybody may forget');
$node->safe_psql('postgres', 'GRANT pg_monitor TO watcher');
$node->safe_psql('postgres', 'SELECT architect.index_capture_reset()', as('watcher'));
is(captured('secret'), '', 'members of pg_monitor may');
($result, $out, $err) = $node->psql('postgres', 'SET architect.index_capture_rate = 0', as('shop'));
like($err, qr/permission denied to set parameter "architect.index_capture_rate"/, 'the rate is not for everybody');

# Memory is what it is: what was used least goes.
my $texts = join('', map { "SELECT " . join(', ', ('id') x $_) . " FROM sales.orders WHERE id = 1 /* kind $_ */;\n" } 1 .. 300);
$node->safe_psql('postgres', "SELECT count(*) /* favourite */ FROM sales.orders;\n" x 500, as('shop'));
$node->safe_psql('postgres', $texts, as('shop'));
is(status('queries <= most_queries AND bytes <= most_bytes AND evicted > 200'), 't', 'it keeps to its memory');
is(captured('favourite', columns => 'seen'), '500', 'what is used much stays');
like(captured('kind 300 ', columns => 'seen'), qr/^1$/, 'and what came last is there');

# Many sessions at once, with values sent apart, and readers among them.
foreach my $mode ('simple', 'extended', 'prepared')
{
	my %scripts = map { ("${mode}_columns_$_" => '\set id random(1, 100)' . "\nSELECT " . join(', ', ('id') x $_) .
			' FROM sales.orders WHERE id = :id AND note <> :client_id::text;') } 1 .. 80;
	$scripts{"${mode}_read"} = "SELECT count(*) FROM architect.index_capture();\nSELECT * FROM architect.index_capture_status();";
	$scripts{"${mode}_forget"} = 'SELECT architect.index_capture_reset();';
	$node->pgbench("--no-vacuum --client=4 --transactions=1000 --protocol=$mode", 0,
		[qr/processed: 4000\/4000/], [qr/^$/], "many sessions, $mode", \%scripts);
	is(status('queries BETWEEN 1 AND most_queries AND bytes BETWEEN 0 AND most_bytes'), 't', "$mode: memory is in order");
}
forget();
is(status('queries, bytes < 2000'), '1|t', 'all of it can be emptied');
$node->pgbench('--no-vacuum --client=1 --transactions=1 --protocol=extended', 0, [qr/processed: 1\/1/], [qr/^$/], 'values apart',
	{ values_apart => '\set id 42' . "\nSELECT /* apart */ * FROM sales.orders WHERE id = :id;" });
is(captured('apart', columns => 'parameters'), '{42}', 'values that are sent apart are captured');

# The session's rate.
forget();
$node->safe_psql('postgres', "SET architect.index_capture_rate = 0; SELECT 1 /* quiet */");
is(captured('quiet'), '', 'nothing is captured at a rate of 0');
$node->safe_psql('postgres', "SET architect.index_capture_rate = 0.1; " . "SELECT 1 /* some */;" x 2000);
my ($seen, $calls) = split /\|/, captured('some', columns => 'seen, calls');
ok($seen > 120 && $seen < 320, "about one in ten is captured: $seen");
ok($calls > 1200 && $calls < 3200, "and stands for ten: $calls");
is($node->safe_psql('postgres', 'SET architect.index_capture_rate = 0; SELECT problem FROM architect.index_capture_status()'),
	'architect.index_capture_rate is 0', 'the status says why nothing is captured');

# What a cursor reads.
forget();
$node->safe_psql('postgres', <<'SQL');
BEGIN;
DECLARE kept CURSOR WITH HOLD FOR SELECT id FROM sales.orders /* held */ WHERE id < 5;
DECLARE lost CURSOR FOR SELECT note FROM sales.orders /* not held */ WHERE id < 5;
FETCH ALL FROM lost;
COMMIT;
SQL
is(captured('held', columns => 'statement, seen'), <<'ROWS' =~ s/\n\z//r, 'what a cursor reads is captured');
SELECT id FROM sales.orders /* held */ WHERE id < 5|1
SELECT note FROM sales.orders /* not held */ WHERE id < 5|1
ROWS

# Query ids are those of PostgreSQL, which is not asked to compute them.
forget();
unlike($node->safe_psql('postgres', 'EXPLAIN VERBOSE SELECT count(*) FROM sales.orders'), qr/Query Identifier/, 'no ids for others');
$node->safe_psql('postgres', "SET compute_query_id = $_; SELECT id FROM sales.orders /* $_ */ WHERE id IN (1, 2);
	PREPARE it (text, int) AS SELECT total FROM sales.orders /* $_ */ WHERE note = \$1 AND id = \$2; EXECUTE it ('a', 1);")
  foreach 'off', 'on';
is(captured('off|on', columns => 'count(*), count(DISTINCT query_id), min(seen)'), '4|2|2', 'they are the same as those');

# What analysis has to say is said once, and what is very long is not analyzed once more.
my ($status, $output, $messages) = $node->psql('postgres', 'SELECT 1 AS ' . 'x' x 70);
is(() = $messages =~ /truncated/g, 1, 'a notice is given once');
$node->safe_psql('postgres', "SELECT /* very long */ '" . 'x' x 100000 . "'");
is(status('long_texts'), '1', 'a text that is very long is counted');

# A session knows kinds of statements by what they read, and how.
forget();
my @of_two_kinds = map { ("SELECT id FROM sales.orders WHERE id = $_ /* kind */", "SELECT id FROM sales.orders WHERE note = '$_' /* kind */") } 1 .. 5;
my @of_another = map { "SELECT id FROM sales.orders WHERE total = $_ /* kind */" } 1 .. 5;
my @of_a_fourth = map { "SELECT id FROM sales.orders WHERE total > $_ /* kind */" } 1 .. 5;
my @of_a_fifth = map { "SELECT id FROM sales.orders WHERE total = (SELECT max(total) FROM sales.orders WHERE note = '$_') /* kind */" } 1 .. 5;
my @of_a_sixth = map { "SELECT id FROM sales.orders WHERE total = (SELECT max(total) FROM sales.orders WHERE total < $_) /* kind */" } 1 .. 5;
$node->safe_psql('postgres', join(';', 'SET architect.index_capture_rate = 0.000000001', @of_two_kinds, @of_another, @of_a_fourth,
	@of_a_fifth, @of_a_sixth));
is(captured('kind', columns => 'statement, seen'), <<'ROWS' =~ s/\n\z//r, 'the first of each kind is captured');
SELECT id FROM sales.orders WHERE id = 1 /* kind */|1
SELECT id FROM sales.orders WHERE note = '1' /* kind */|1
SELECT id FROM sales.orders WHERE total = (SELECT max(total) FROM sales.orders WHERE note = '1') /* kind */|1
SELECT id FROM sales.orders WHERE total = (SELECT max(total) FROM sales.orders WHERE total < 1) /* kind */|1
SELECT id FROM sales.orders WHERE total = 1 /* kind */|1
SELECT id FROM sales.orders WHERE total > 1 /* kind */|1
ROWS

# Beside pg_stat_statements, whichever comes first.
foreach my $libraries ('pg_stat_statements, pg_architect', 'pg_architect, pg_stat_statements')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	$node->restart;
	$node->safe_psql('postgres', "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()");
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.05) /* both */;' x 2);
	is($node->safe_psql('postgres', <<'SQL'), 't|t|t|t', "the same as pg_stat_statements: $libraries");
SELECT found.seen = known.calls, known.calls = 2, abs(found.milliseconds - known.total_exec_time) < 1, known.rows = 2
FROM architect.index_capture() AS found
JOIN pg_stat_statements AS known ON known.queryid = found.query_id AND known.userid = found.role
WHERE found.statement ~ '/\* both'
SQL
}
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_architect'");

# Not preloaded, or without memory.
$node->append_conf('postgresql.conf', 'architect.index_capture_size = 0');
$node->restart;
is(status('problem, queries'), 'architect.index_capture_size is 0|', 'no memory');
$node->append_conf('postgresql.conf', "architect.index_capture_size = 64\nshared_preload_libraries = ''");
$node->restart;
is(status('problem, queries'), 'pg_architect is not in shared_preload_libraries|', 'not preloaded');
($result, $out, $err) = $node->psql('postgres', '\set VERBOSITY verbose
	SELECT * FROM architect.index_capture()');
like($err, qr/ERROR:  55000: no statements are captured\n.*HINT:.*shared_preload_libraries/s, 'that is an error with a hint');

$node->stop;
done_testing();
