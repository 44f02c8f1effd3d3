# What-if planning beside libraries that have the same hooks: each sees its own indexes,
# whichever was loaded first.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = qx(pg_config --pkglibdir);
chomp $library;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE orders (id integer PRIMARY KEY, customer integer, kind integer);
INSERT INTO orders SELECT i, i % 1000, i % 900 FROM generate_series(1, 20000) AS i;
VACUUM ANALYZE orders;
SQL

my $what_if = q{SELECT indexes_used, error FROM architect.index_what_if(
	'/*+ IndexScan(orders ours) SeqScan(orders) */ SELECT * FROM orders WHERE customer = 5 AND kind = 5',
	'{CREATE INDEX ours ON orders (customer)}')};
my $shown = q{SELECT line ~ 'ours' FROM architect.index_explain('SELECT * FROM orders WHERE customer = 5',
	'{CREATE INDEX ours ON orders (customer)}') AS line WHERE line ~ 'Index Scan'};

# together NAME LIBRARIES STATEMENTS ANSWER: in one session.
sub together
{
	my ($name, $libraries, $statements, $answer) = @_;

	is($node->safe_psql('postgres', join(";\n", (map { "LOAD '$_'" } @$libraries), @$statements)), $answer, $name);
	return;
}

together('alone', ['pg_architect'], [ $what_if, $shown ], "{ours}|\nt");

SKIP:
{
	skip 'HypoPG is not there', 2 if !-e "$library/hypopg.so";
	$node->safe_psql('postgres', 'CREATE EXTENSION hypopg');
	foreach my $order ([ 'hypopg', 'pg_architect' ], [ 'pg_architect', 'hypopg' ])
	{
		together(
			"with HypoPG, $order->[0] first",
			$order,
			[   q{SELECT FROM hypopg_create_index('CREATE INDEX ON orders (kind)')},
				$what_if,
				$shown,
				q{EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE customer = 5},
				q{SELECT count(*) FROM hypopg_list_indexes},
			],
			"{ours}|\nt\nSeq Scan on orders\n  Filter: (customer = 5)\n1");
	}
}

SKIP:
{
	skip 'pg_hint_plan is not there', 2 if !-e "$library/pg_hint_plan.so";
	foreach my $order ([ 'pg_hint_plan', 'pg_architect' ], [ 'pg_architect', 'pg_hint_plan' ])
	{
		together("with pg_hint_plan, $order->[0] first", $order, [ "/*+ IndexScan(orders nothing) */ $what_if", $shown ],
			"{ours}|\nt");
	}
}

$node->stop;
done_testing();
