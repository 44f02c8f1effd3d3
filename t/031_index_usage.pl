# What a standby counted of the indexes is taken to its primary, and comes through dump and restore.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "autovacuum = off\narchitect.index_unused_after = 0\n");
$primary->start;
$primary->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE DATABASE shop');
$primary->safe_psql('shop', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA sales AUTHORIZATION clerk;
SET ROLE clerk;
CREATE TABLE sales.orders (id int PRIMARY KEY, at int, total int);
CREATE INDEX orders_at ON sales.orders (at);
CREATE INDEX orders_total ON sales.orders (total);
INSERT INTO sales.orders SELECT n, n, n FROM generate_series(1, 1000) AS n;
ANALYZE sales.orders;
SQL

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my $unused = 'SELECT index, reason FROM architect.index_unused ORDER BY index::text';
my $names = 'SELECT index FROM architect.index_unused ORDER BY index::text';
my @as_clerk = (extra_params => [ '-U', 'clerk' ]);

# Only the standby uses one of them.
$standby->safe_psql('shop', 'SET enable_seqscan = off; SELECT * FROM sales.orders WHERE at = 5', @as_clerk);
is($primary->safe_psql('shop', $names, @as_clerk), "sales.orders_at\nsales.orders_total",
	'the primary does not know what its standby uses');
is($standby->safe_psql('shop', $names, @as_clerk), 'sales.orders_total', 'the standby tells what it does not use itself');

my $usage = $standby->safe_psql('shop', 'SELECT architect.index_usage_export()', @as_clerk);
my ($result, $out, $err) = $standby->psql('shop', "SELECT architect.index_usage_import('x', '$usage')");
like($err, qr/cannot execute DELETE in a read-only transaction/, 'a standby takes nothing in');
is($primary->safe_psql('shop', "SELECT architect.index_usage_import('standby', '$usage')", @as_clerk),
	3, 'the primary takes in what the standby counted');
like($primary->safe_psql('shop', $unused, @as_clerk),
	qr/\Asales\.orders_total\|No scan has used it for as long as is known on this server and standby\.\Z/,
	'and knows what neither uses');

# The import is on the standby, too, and is not counted against it.
$primary->wait_for_catchup($standby);
is($standby->safe_psql('shop', $names, @as_clerk), 'sales.orders_total', 'the standby sees what was imported');

# It survives a dump, and the indexes' new numbers.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop.sql';
$primary->command_ok([ 'pg_dump', '-h', $primary->host, '-p', $primary->port, '-f', $dump, 'shop' ], 'dump');
$primary->safe_psql('postgres', 'CREATE DATABASE copy');
$primary->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $primary->host, '-p', $primary->port, '-f', $dump, 'copy' ],
	'restore');
my $kept = 'SELECT * FROM architect.index_usage ORDER BY server, index_name';
is($primary->safe_psql('copy', $kept), $primary->safe_psql('shop', $kept), 'the copy has what was imported');
is($primary->safe_psql('copy', $names), 'sales.orders_total', 'and knows what it means');

done_testing();
