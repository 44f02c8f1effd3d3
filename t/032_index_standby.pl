# All views of the index part, and what-if planning, answer on a standby and in a transaction
# that is read only, as owner and as monitor, and lock nothing but with AccessShareLock.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', 'autovacuum = off');
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE owner LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE guest LOGIN;
CREATE SCHEMA shop AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE shop.customers (id bigint PRIMARY KEY);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer bigint REFERENCES shop.customers, data jsonb);
INSERT INTO shop.customers SELECT n FROM generate_series(1, 1000) AS n;
INSERT INTO shop.orders SELECT n, n % 1000 + 1, '{"a": 1}' FROM generate_series(1, 20000) AS n;
CREATE INDEX one ON shop.orders (data, id);
CREATE INDEX other ON shop.orders (data, id);
ANALYZE shop.customers, shop.orders;
SQL

my $standby = PostgreSQL::Test::Cluster->new('standby');
$primary->backup('copy');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my @views = split /\n/, $primary->safe_psql('postgres', <<'SQL');
SELECT viewname FROM pg_views WHERE schemaname = 'architect' AND viewname ~ '^(index|jsonb)_' ORDER BY viewname
SQL
cmp_ok(scalar @views, '>', 10, 'there are views');

foreach my $node ($primary, $standby)
{
	my $name = $node->name;

	foreach my $role ('postgres', 'owner', 'monitor', 'guest')
	{
		foreach my $view (@views)
		{
			my ($out, $err);
			my $locks = "SELECT string_agg(DISTINCT mode, ' ') FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'";

			$node->psql('postgres', "BEGIN READ ONLY; SELECT FROM architect.$view; $locks",
				stdout => \$out, stderr => \$err, extra_params => [ '-U', $role ]);
			$out =~ s/^\n+//;
			is("$out$err", 'AccessShareLock', "$name: $view as $role");
		}
	}
	my %seen = map {
		$_ => $node->safe_psql('postgres',
			"SELECT string_agg(DISTINCT rule, ' ' ORDER BY rule) FROM architect.index_advice WHERE relation = (SELECT oid FROM pg_class WHERE relname = 'orders') AND confidence = 'proven'",
			extra_params => [ '-U', $_ ])
	} 'owner', 'monitor', 'guest';
	like($seen{owner}, qr/duplicate/, "$name: the owner sees what is wrong with his table");
	is($seen{monitor}, $seen{owner}, "$name: the monitor sees as much");
	is($seen{guest}, '', "$name: a guest sees nothing");

	my %answers = map {
		$_ => $node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', $_ ])
BEGIN READ ONLY;
SELECT indexes_used, error
FROM architect.index_what_if('SELECT * FROM shop.orders WHERE customer = 5', ARRAY[
    'CREATE INDEX rare ON shop.orders (customer) WHERE data ->> ''a'' = ''2''', 'CREATE INDEX used ON shop.orders (customer, id)'])
SQL
	} 'owner', 'guest';
	is($answers{owner}, '{used}|', "$name: the owner asks what if");
	is($answers{guest}, '|permission denied for schema shop', "$name: a guest is told nothing");
}

$standby->stop;
$primary->stop;
done_testing();
