# The tenant of a session, by every way that the server has to give a setting a value, and
# however the library is loaded; then crossings in the server's log, a standby and a dump.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Refused;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE app LOGIN;
CREATE ROLE billing LOGIN;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO billing;
GRANT CREATE ON SCHEMA public TO app;
CREATE TABLE item (tenant_id bigint NOT NULL, id integer);
INSERT INTO item SELECT 1 + id % 3, id FROM generate_series(1, 300) AS id;
ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY architect_tenant ON item
    USING ((tenant_id = architect.tenant_bigint()) OR architect.tenant_crossing());
CREATE POLICY architect_tenant_floor ON item AS RESTRICTIVE
    USING ((tenant_id = architect.tenant_bigint()) OR architect.tenant_crossing());
GRANT SELECT ON item TO app, billing;
ANALYZE item;
SQL

# What a session sees: which tenants, how many rows, and the tenant that it has.
my $look = <<'SQL';
SELECT coalesce(string_agg(DISTINCT tenant_id::text, ','), 'nothing') || ' ' || count(*)
    || ' ' || coalesce(architect.tenant_current(), 'none')
FROM item
SQL
my $parallel = <<'SQL';
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SQL

# seen ROLE OPTIONS SQL: the last line that a session gives, which goes on after errors; or
# 'refused' when there is none, as of a connection that the server does not take.
sub seen
{
	my ($role, $options, $sql) = @_;
	my ($out, $err);

	local $ENV{PGOPTIONS} = $options;
	psql_if_let(
		$node, 'postgres', $sql,
		extra_params => [ '-U', $role ],
		on_error_stop => 0,
		stdout => \$out,
		stderr => \$err);
	return $out =~ /([^\n]*)\z/ && $1 ne '' ? $1 : 'refused';
}

sub restart_with
{
	$node->append_conf('postgresql.conf', $_[0]);
	$node->restart;
}

my @loads = (
	[ 'loaded on demand', '' ],
	[ 'loaded for the session', "session_preload_libraries = 'pg_architect'" ],
	[ 'preloaded', "session_preload_libraries = ''\nshared_preload_libraries = 'pg_architect'" ]);

# What somebody puts into the catalogs while the library is not there to refuse it.
my $state = 'architect.tenant_state';
my $planted = <<"SQL";
CREATE FUNCTION forged() RETURNS text LANGUAGE sql SET $state = 'w1:1' AS \$\$ $look \$\$;
ALTER ROLE app SET $state = 'w1:1';
ALTER DATABASE postgres SET $state = 'w1:2';
ALTER ROLE app IN DATABASE postgres SET $state = 'w1:3';
SQL
$node->safe_psql('postgres', $planted);

foreach my $load (@loads)
{
	my ($how, $conf) = @$load;

	restart_with($conf);

	# The setting of the application, by every way.
	is(seen('app', '', $look), 'nothing 0 none', "$how: no tenant");
	is(seen('app', '-c app.tenant_id=2', $look), '2 100 2', "$how: startup option");
	is(seen('app', '-c app.tenant_id=2', "$parallel $look"), '2 100 2', "$how: startup option, in parallel");
	is(seen('app', '', "SET app.tenant_id = 2; $look"), '2 100 2', "$how: SET");
	is(seen('app', '', "BEGIN; SET LOCAL app.tenant_id = 2; $parallel $look"), '2 100 2', "$how: SET LOCAL");
	is(seen('app', '', "BEGIN; SET LOCAL app.tenant_id = 2; COMMIT; $look"), 'nothing 0 none', "$how: after it");
	is(seen('app', '', "BEGIN; SELECT architect.tenant_set(2); $look"), '2 100 2', "$how: tenant_set");
	is( seen('app', '-c app.tenant_id=1', "BEGIN; SELECT architect.tenant_set(2); PREPARE TRANSACTION 'p'; $look"),
		'1 100 1', "$how: gone with a prepared transaction");
	is(seen('app', '-c app.tenant_id=1', "COMMIT PREPARED 'p'; $look"), '1 100 1', "$how: and after it");
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET app.tenant_id = 3');
	is(seen('app', '', $look), '3 100 3', "$how: ALTER DATABASE");
	is(seen('app', '', "BEGIN; SELECT architect.tenant_clear(); $look"), 'nothing 0 none', "$how: cleared");
	is(seen('app', '', "BEGIN; SELECT architect.tenant_clear(); COMMIT; $look"), '3 100 3', "$how: and back");
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET app.tenant_id');

	# Another setting, named for the database: workers have it from their start.
	$node->safe_psql('postgres', "ALTER DATABASE postgres SET architect.tenant_setting = 'shop.tenant'");
	is(seen('app', '-c shop.tenant=2 -c app.tenant_id=1', "$parallel $look"), '2 100 2', "$how: another setting");
	is( seen('app', '-c shop.tenant=2', "SET architect.tenant_setting = 'app.tenant_id'; $look"),
		'2 100 2', "$how: which is not the application's to choose");
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET architect.tenant_setting');

	# Trusted mode for the database is not the client's to leave as it connects, in workers either.
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET architect.tenant_trusted = on');
	foreach my $value ('off', '', 'on', 'maybe')
	{
		like(
			seen('app', "-c app.tenant_id=1 -c architect.tenant_trusted=$value", "$parallel $look"),
			qr/^(nothing 0 none|refused)$/,
			"$how: trusted mode of a database, and '$value' of the client");
	}
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET architect.tenant_trusted');

	# Nothing forges what is hidden, nor does what was planted count.
	my @forgeries = (
		[ '', "SET $state = 'w1:1'" ],
		[ '', "BEGIN; SET LOCAL $state = 'w1:1'" ],
		[ '', "SELECT set_config('$state', 'w1:1', false)" ],
		[ '', "BEGIN; SELECT set_config('$state', '-1:1', true)" ],
		[ '', "UPDATE pg_settings SET setting = 'w1:1' WHERE name = '$state'" ],
		[ '', "ALTER ROLE app SET $state = 'w1:1'" ],
		[ '', "SELECT forged()" ],
		[ "-c $state=w1:1", 'SELECT 1' ],
		[ "-c $state=w1:1", "RESET $state" ],
		[ "-c $state=w1:1", 'RESET ALL' ],
		[ "-c $state=w1:1", 'DISCARD ALL' ],
		[ '', "SET $state = 'w1:1'; SELECT architect.tenant_current(); RESET $state" ],
		[ '', "LOAD 'pg_architect'; SET $state = 'w1:1'" ],
		[ '', "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET $state = 'w1:1' AS 'SELECT 1'; SELECT pg_temp.f()" ],
		[ '', "SET SESSION AUTHORIZATION app; SET $state = 'w1:1'" ],
		[ '', "SET ROLE app; BEGIN; SAVEPOINT a; SET LOCAL $state = 'w1:1'; ROLLBACK TO a" ]);
	foreach my $trusted ('off', 'on')
	{
		$node->safe_psql('postgres', "LOAD 'pg_architect'; ALTER SYSTEM SET architect.tenant_trusted = $trusted");
		$node->reload;
		foreach my $forgery (@forgeries)
		{
			my ($options, $sql) = @$forgery;

			like(
				seen('app', $options, "$sql;\n$parallel $look"),
				qr/^(nothing 0 none|refused)$/,
				"$how, trusted $trusted: $options $sql");
		}
	}

	# In trusted mode the application's setting does not count, and the mode is not its to leave.
	foreach my $way (
		[ '-c app.tenant_id=1', 'SELECT 1' ],
		[ '', 'SET app.tenant_id = 1' ],
		[ '', 'BEGIN; SET LOCAL app.tenant_id = 1' ],
		[ '', 'BEGIN; SELECT architect.tenant_set(1)' ],
		[ '-c app.tenant_id=1', 'SET architect.tenant_trusted = off' ],
		[ '-c app.tenant_id=1', 'BEGIN; SET LOCAL architect.tenant_trusted = off' ],
		[ '-c app.tenant_id=1 -c architect.tenant_trusted=off', 'SELECT 1' ],
		[ '-c app.tenant_id=1', 'RESET architect.tenant_trusted' ],
		[ '-c app.tenant_id=1', 'RESET ALL; SET app.tenant_id = 1' ],
		[ '-c app.tenant_id=1', 'DISCARD ALL; SET app.tenant_id = 1' ],
		[ '-c app.tenant_id=1', 'ALTER ROLE app SET architect.tenant_trusted = off' ],
		[ '-c app.tenant_id=1', "SELECT set_config('architect.tenant_trusted', 'off', false)" ])
	{
		my ($options, $sql) = @$way;

		like(
			seen('app', $options, "$sql;\n$look"),
			qr/^(nothing 0 none|refused)$/,
			"$how, trusted: $options $sql");
	}
	is( seen('billing', '', "BEGIN; SELECT architect.tenant_cross('in trusted mode'); $look"),
		'1,2,3 300 none', "$how, trusted: a crossing");
	$node->safe_psql('postgres', 'LOAD \'pg_architect\'; ALTER SYSTEM RESET architect.tenant_trusted');
	$node->reload;
}
$node->safe_psql('postgres', <<"SQL");
DROP FUNCTION forged();
DELETE FROM pg_db_role_setting;
SQL

# ---------------------------------------------------------------- crossings

$node->safe_psql('postgres', 'DELETE FROM architect.tenant_crossings');
my $at = -s $node->logfile;
is( seen('billing', '', "BEGIN; SELECT architect.tenant_cross('taken back'); $parallel $look; ROLLBACK; $look"),
	'nothing 0 none', 'a crossing that is rolled back is over');
is($node->safe_psql('postgres', 'SELECT count(*) FROM architect.tenant_crossings'), '0', 'and has no row');
like(
	slurp_file($node->logfile, $at),
	qr/LOG:  role "billing" crosses tenants to read\n.*DETAIL:  .*"billing"\. Reason: taken back\n/,
	'but the server has it in its log');
is( seen('billing', '', "BEGIN; SELECT architect.tenant_cross('kept'); $parallel $look; COMMIT"),
	'1,2,3 300 none', 'workers cross too');
is( $node->safe_psql('postgres', 'SELECT session_role, role_name, reason, read_only FROM architect.tenant_crossings'),
	'billing|billing|kept|t', 'one that is committed has a row');

# A standby has tenants, and no crossings, which it could not keep.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql('postgres', "BEGIN; SELECT FROM architect.tenant_set(2); $look", extra_params => [ '-U', 'app' ]),
	'2 100 2', 'tenant_set on a standby');
my ($out, $err);
$standby->psql('postgres', "SELECT architect.tenant_cross('here')", extra_params => [ '-U', 'billing' ], stderr => \$err);
like($err, qr/ERROR:  cannot cross tenants in a read-only transaction/, 'a standby lets nobody cross');
$standby->stop;

# A dump takes policies and crossings along.
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'restore');
is( $node->safe_psql('copy', "SET app.tenant_id = 2; $look", extra_params => [ '-U', 'app' ]),
	'2 100 2', 'the policies of the copy hold');
is( $node->safe_psql(
		'copy', "SELECT FROM architect.tenant_cross('again'); SELECT count(DISTINCT id), min(reason) FROM architect.tenant_crossings"),
	'2|again', 'and its crossings are counted on');

$node->stop;
done_testing();
