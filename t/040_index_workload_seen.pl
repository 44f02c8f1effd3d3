# The workload that advice is for is what pg_stat_statements counted, with the values that
# were captured; what is left out says why.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

plan skip_all => 'pg_stat_statements is not installed'
  if !-e $node->config_data('--sharedir') . '/extension/pg_stat_statements.control';

$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 1200
autovacuum = off
jit = off
CONF
$node->start;

sub run { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', $_[1] // 'postgres' ]); }

sub fails
{
	my ($sql, $pattern, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, $pattern, $name);
	return;
}

# What is seen of statements with this word, which is that of no other.
sub seen
{
	my ($table, $columns, $user) = @_;
	return run("SELECT $columns FROM architect.index_workload() WHERE relation = '$table'::regclass ORDER BY 1", $user);
}

sub problems { return run("SELECT problem FROM architect.index_workload() WHERE relation IS NULL AND query_id IS NULL ORDER BY 1", $_[0]); }

run('CREATE EXTENSION pg_architect');
fails('SELECT * FROM architect.index_advise()', qr/55000: there is no workload.*not installed.*HINT/s, 'nothing was seen');
is(problems(), 'pg_stat_statements is not installed in this database', 'and the workload says so');
fails(q{SELECT * FROM architect.index_advise(queries => '{SELECT 1,SELECT 2}', weights => '{1}')}, qr/22023: there are 2 queries and 1 weights/, 'lengths');
fails(q{SELECT * FROM architect.index_advise(queries => '{SELECT 1,NULL}')}, qr/22004: queries\[2\] is NULL/, 'no query');
fails(q{SELECT * FROM architect.index_advise(queries => '{SELECT 1}', weights => '{NULL}')}, qr/22004: weights\[1\] is NULL/, 'no weight');
fails(q{SELECT * FROM architect.index_advise(queries => '{SELECT 1}', weights => '{-1}')}, qr/22023: weights\[1\] is -1/, 'a weight below zero');
fails(q{SELECT * FROM architect.index_advise(queries => '{SELECT 1}', weights => '{NaN}')}, qr/22023: weights\[1\] is nan/i, 'a weight that is no number');
fails(q{SELECT * FROM architect.index_advise(weights => '{1}')}, qr/22023: there are weights but no queries/, 'weights alone');

run(<<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE ROLE shop LOGIN;
CREATE ROLE other LOGIN;
CREATE SCHEMA sales AUTHORIZATION shop;
CREATE SCHEMA elsewhere AUTHORIZATION shop;
ALTER ROLE shop SET search_path = sales, public;
ALTER ROLE ALL SET search_path = nowhere;
SET ROLE shop;
CREATE TABLE sales.orders (id integer PRIMARY KEY, customer integer);
CREATE TABLE elsewhere.orders (id integer PRIMARY KEY, customer integer);
INSERT INTO sales.orders SELECT n, n % 10 FROM generate_series(1, 1000) AS n;
ANALYZE sales.orders;
SQL
run('SELECT public.pg_stat_statements_reset()');
run('SELECT count(*) FROM orders WHERE customer = 3; SELECT count(*) FROM orders WHERE customer = 4', 'shop');
is(seen('sales.orders', 'source, calls, milliseconds > 0, predicates, problem'), 'pg_stat_statements|2|t|{"customer ="}|', 'names are those of the path that is set for the role');
is(seen('elsewhere.orders', 'count(*)'), 0, 'and of no other');
is(problems(), '', 'nothing else is left out');
like(problems('other'), qr/^\d+ statements of others may be read by members of pg_read_all_stats only$/, 'others do not see it');
is(run("SELECT count(*) > 0 FROM architect.index_workload() WHERE problem = 'it has no table that indexes can be advised for'"), 't', 'what reads no table');

# More statements than are looked at, and than are kept.
sub columns
{
	my ($number) = @_;
	return join(', ', map { $number >> $_ & 1 ? 'id' : 'customer' } 0 .. 10);
}
run(join ';', map { 'SELECT ' . columns($_) . ' FROM sales.orders' } 1 .. 1100);
like(problems(), qr/^\d+ statements that take less time are left out: 1000 are looked at$/m, 'too many');
run(join ';', map { 'SELECT DISTINCT ' . columns($_) . ' FROM elsewhere.orders' } 1 .. 300);
like(problems(), qr/^pg_stat_statements has dropped statements \d+ times: pg_stat_statements.max is too small for all$/m, 'more than it keeps');

# Captured examples stand for their query, and share what was counted of it.
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements, pg_architect'
architect.index_capture_rate = 1
CONF
$node->restart;
run('SELECT public.pg_stat_statements_reset()');
my $prepare = 'PREPARE p AS SELECT count(*) FROM orders WHERE customer = $1';
run("$prepare; EXECUTE p(5); EXECUTE p(5); EXECUTE p(6)", 'shop');
run('SELECT architect.index_capture_reset()');
run("$prepare; EXECUTE p(7); EXECUTE p(8)", 'shop');
is(run(<<'SQL'), 'captured|5|t', 'the examples have the calls of the query');
SELECT source, sum(calls), sum(milliseconds) > 0 FROM architect.index_workload() WHERE relation = 'sales.orders'::regclass GROUP BY source
SQL
run('DROP EXTENSION pg_stat_statements');
is(run(<<'SQL'), 'captured|2', 'without pg_stat_statements they are all there is');
SELECT source, sum(calls) FROM architect.index_workload() WHERE relation = 'sales.orders'::regclass GROUP BY source
SQL
like(problems(), qr/pg_stat_statements is not installed/, 'and that is said');
is(run("SELECT count(*) FROM architect.index_advise() WHERE reason IS NULL"), 0, 'there is a workload to advise on');

done_testing();
