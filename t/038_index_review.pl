# Advice is kept, followed and judged by what pg_stat_statements measures since.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

plan skip_all => 'pg_stat_statements is not installed'
  if !-e $node->config_data('--sharedir') . '/extension/pg_stat_statements.control';

$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements'
autovacuum = off
max_prepared_transactions = 1
CONF
$node->start;

sub run { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', $_[1] // 'owner' ]); }

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE EXTENSION pg_stat_statements;
CREATE ROLE owner LOGIN;
CREATE ROLE other LOGIN IN ROLE owner;
CREATE SCHEMA shop AUTHORIZATION owner;
SQL
run(<<'SQL');
CREATE TABLE shop.orders (id integer PRIMARY KEY, customer integer, status text, note text);
INSERT INTO shop.orders SELECT n, n % 20000, CASE WHEN n % 1000 = 0 THEN 'open' ELSE 'done' END, repeat('x', 100)
FROM generate_series(1, 200000) AS n;
CREATE TABLE shop.events (id integer, at integer) PARTITION BY RANGE (id);
CREATE TABLE shop.events_1 PARTITION OF shop.events FOR VALUES FROM (0) TO (100000);
CREATE TABLE shop.events_2 PARTITION OF shop.events FOR VALUES FROM (100000) TO (200000);
INSERT INTO shop.events SELECT n, n % 50000 FROM generate_series(1, 199999) AS n;
VACUUM ANALYZE shop.orders, shop.events;
SQL

my @queries = ('SELECT count(note) FROM shop.orders WHERE customer = %s', 'SELECT count(*) FROM shop.events WHERE at = %s');
sub ask
{
	foreach my $query (@queries) { run(join ';', map { sprintf $query, $_ } 1 .. 10); }
}
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
ask();

# The queries are those of pg_stat_statements; the advice is the owner's.
my $report = run(q{SELECT architect.index_advise_report(tables => '{shop.orders,shop.events}')});
like($report, qr/^2 to create: /, 'the report says what there is to do');
like($report, qr/10 calls: SELECT count\(note\) FROM shop\.orders WHERE customer = \$1/, 'and who gains');
is(run('SELECT count(*) FROM architect.index_advised'), 0, 'a report keeps nothing');
is(run(q{SELECT architect.index_advise_keep(tables => '{shop.orders,shop.events}')}), 2, 'advice is kept');
is(run('SELECT relation, columns, statement IS NOT NULL FROM architect.index_advised ORDER BY 1::text'),
	"shop.events|{at}|t\nshop.orders|{customer}|t", 'and is advice until it is done');
is(run('SELECT count(*) FROM architect.index_advised', 'other'), 0, 'a member of the role sees none');
is(run('SELECT count(*) FROM architect.index_advised', 'postgres'), 0, 'nor does a superuser');

# What others have locked is not waited for.
run(q{BEGIN; LOCK TABLE shop.orders; PREPARE TRANSACTION 'lock'});
is(run(q{SET statement_timeout = '10s'; SELECT relation FROM architect.index_advised}), 'shop.events', 'a lock is no obstacle');
is(run(q{SELECT undecided, reason FROM architect.index_advice_status WHERE rule = 'advised'}),
	'1|a table is locked by others (1)', 'but is told');
run(q{ROLLBACK PREPARED 'lock'});

# A copy knows it, too; a standby reads it, and keeps none.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, 'postgres' ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-f', $dump, 'copy' ], 'restore');
my $kept = 'SELECT * FROM architect.index_advice_kept ORDER BY id';
is($node->safe_psql('copy', $kept), $node->safe_psql('postgres', $kept), 'the copy has what was kept');
is($node->safe_psql('copy', 'SELECT count(*) FROM architect.index_advised', extra_params => [ '-U', 'owner' ]), 2, 'and gives it');
$node->safe_psql('copy', 'DROP SCHEMA shop CASCADE');
is($node->safe_psql('copy', 'SELECT count(*) FROM architect.index_advised', extra_params => [ '-U', 'owner' ]), 0,
	'of tables that are gone there is no advice');

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', 'SELECT count(*) FROM architect.index_advised', extra_params => [ '-U', 'owner' ]), 2,
	'a standby gives it');
my (undef, undef, $error) = $standby->psql('postgres', "SELECT architect.index_advise_keep(queries => '{SELECT 1}')");
like($error, qr/cannot execute architect\.index_advise_keep\(\)/, 'and keeps none');
is($standby->safe_psql('postgres', "SELECT architect.index_advise_report(queries => '{SELECT 1}')"),
	'No index that was looked at is worth what it costs.', 'but writes reports');
$standby->stop;

# Nothing is judged until it is done, and then by what is measured.
is(run('SELECT count(*) FROM architect.index_review()'), 0, 'nothing is done');
my $verdicts = 'SELECT relation, calls, verdict FROM architect.index_review() ORDER BY relation::text';
run(q{CREATE INDEX another_name ON shop.orders (customer); CREATE INDEX ON shop.events (at)});
is(run('SELECT count(*) FROM architect.index_advised'), 0, 'what is done is no advice any more');
is(run($verdicts), <<'ROWS' =~ s/\n$//r, 'and has not been used yet');
shop.events|0|not called since; no scan has used the index
shop.orders|0|not called since; no scan has used the index
ROWS
ask();
like(run($verdicts), qr/\Ashop\.events\|10\|(as predicted|faster, but less than predicted)
shop\.orders\|10\|(as predicted|faster, but less than predicted)\Z/, 'queries are faster');
is(run(<<'SQL'), "t|t|t|t|t\nt|t|t|t|t", 'size, scans and times are told');
SELECT predicted_bytes BETWEEN size_bytes * 0.9 AND size_bytes * 1.1, scans >= 10, milliseconds_since < milliseconds_before,
    measured_ratio = milliseconds_since / milliseconds_before, query LIKE 'SELECT count%'
FROM architect.index_review()
SQL
is(run('SELECT count(*) FROM architect.index_review()', 'other'), 0, 'another role sees nothing of it');

# New advice does not forget what was done.
is(run(q{SELECT architect.index_advise_keep(tables => '{shop.orders,shop.events}')}), 0, 'there is nothing more to do');
is(run('SELECT count(*) FROM architect.index_review()'), 2, 'what was done is judged all the same');
run(q{BEGIN; LOCK TABLE shop.orders; PREPARE TRANSACTION 'lock'});
is(run(q{SELECT architect.index_advise_keep(queries => '{SELECT 1}')}), 0, 'new advice, while a table is locked');
is(run('SELECT relation FROM architect.index_review()'), 'shop.events', 'what others have locked cannot be judged');
run(q{ROLLBACK PREPARED 'lock'});
is(run('SELECT count(*) FROM architect.index_review()'), 2, 'and is not forgotten');

# Counters that began anew, and those that cannot be read.
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
like(run($verdicts), qr/not measured: pg_stat_statements has forgotten it\n/, 'a query is forgotten');
ask();
like(run($verdicts), qr/\Ashop\.events\|10\|.*; counted since a reset\n/, 'a reset is told');
run(join ';', ('SELECT count(note) FROM shop.orders WHERE customer = 1') x 3);
$node->safe_psql('postgres', 'DROP EXTENSION pg_stat_statements');
like(run($verdicts), qr/\|not measured: pg_stat_statements is not installed in this database\n/, 'it is not installed');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
like(run($verdicts), qr/\|not measured: pg_stat_statements cannot be read: .*shared_preload_libraries/, 'it is not loaded');

done_testing();
