# Protected tables stay protected through pg_dump and restore, and the register with them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

my $dumps = PostgreSQL::Test::Utils::tempdir();

sub run_ok
{
	my ($what, @command) = @_;
	my ($stdout, $stderr) = run_command([ @command, '-h', $node->host, '-p', $node->port ]);
	is($stderr, '', $what);
}

# A database with every kind of protected table, made by their owner.
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE ROLE app LOGIN; CREATE DATABASE shop');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA sales AUTHORIZATION clerk;
GRANT USAGE ON SCHEMA sales TO app;
SQL
$node->safe_psql('shop', <<'SQL', extra_params => [ '-U', 'clerk' ]);
SET search_path = sales;
SET client_min_messages = warning;
CREATE TABLE orders (gone int, id int PRIMARY KEY, tenant_id int, email text UNIQUE);
ALTER TABLE orders DROP gone;
CREATE TABLE "Order ""Lines""" (id int PRIMARY KEY, order_id int REFERENCES orders);
CREATE TABLE events (id int, tenant_id int NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE base (tenant_id int);
CREATE TABLE derived (note text) INHERITS (base);
CREATE TABLE renamed (id int, tenant_id int);
CREATE DOMAIN tenant AS varchar(10);
CREATE TABLE named (owner tenant);
CREATE TABLE lost (tenant_id int);
INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b');
INSERT INTO "Order ""Lines""" VALUES (1, 1), (2, 2);
INSERT INTO events VALUES (1, 1), (2, 2);
GRANT ALL ON ALL TABLES IN SCHEMA sales TO app;

SELECT architect.tenant_enable('named', 'owner', '{app,clerk}');
SELECT architect.tenant_enable('lost');
SELECT * FROM architect.tenant_enable_schema('sales', fix => true);
SELECT architect.tenant_enable('"Order ""Lines"""', add_column => true, fix => true);
ALTER TABLE renamed RENAME COLUMN tenant_id TO "Mandant %1$s";
DROP TABLE lost;
SQL

# Everything that a restored copy must have, whatever its OIDs are.
my $state = <<'SQL';
SELECT relation::text, column_name, kind, roles, enabled_at, undo FROM architect.tenant_registry ORDER BY 1;
SELECT * FROM architect.tenant_schemas;
SELECT relation::text, row_security, forced, other_policies, problem FROM architect.tenant_tables ORDER BY 1;
SELECT polrelid::regclass::text, polname, polcmd, polpermissive, (SELECT array_agg(role::regrole::text ORDER BY role::regrole::text) FROM unnest(polroles) AS role),
       pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_policy
WHERE polname LIKE 'architect%'
ORDER BY 1, 2;
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'sales'::regnamespace
ORDER BY 1, 2;
SQL
my $original = $node->safe_psql('shop', $state);
like($original, qr/^"Order|sales."Order ""Lines"""/m, 'the register has the tables');
unlike($original, qr/problem|missing/, 'nothing is wrong with them');

my $reads = <<'SQL';
SELECT count(*) FROM sales.orders;
BEGIN;
SELECT architect.tenant_set(2);
SELECT id FROM sales.orders;
SELECT id FROM sales."Order ""Lines""";
SELECT id FROM sales.events_1;
COMMIT;
SQL

sub check_copy
{
	my ($copy, $how) = @_;
	my $err;

	is($node->safe_psql($copy, $state), $original, "$how: register, policies and keys are as they were");
	is($node->safe_psql($copy, $reads, extra_params => [ '-U', 'app' ]), "0\n2\n2\n2\n2", "$how: a tenant sees his rows");
	is($node->safe_psql($copy, $reads, extra_params => [ '-U', 'clerk' ]), "0\n2\n2\n2\n2", "$how: so does the owner");

	# What comes below a protected table follows, a new name too, and the undo fits.
	$node->safe_psql($copy, <<'SQL', extra_params => [ '-U', 'clerk' ]);
CREATE TABLE sales.events_2 PARTITION OF sales.events DEFAULT;
ALTER TABLE sales.orders RENAME COLUMN tenant_id TO customer;
SQL
	is($node->safe_psql($copy, 'SELECT column_name FROM architect.tenant_tables'
				. q( WHERE relation IN ('sales.events_2'::regclass, 'sales.orders'::regclass) AND problem IS NULL ORDER BY 1)),
		"customer\ntenant_id", "$how: the register follows");
	$node->safe_psql($copy, <<'SQL', extra_params => [ '-U', 'clerk' ]);
SET client_min_messages = warning;
SELECT architect.tenant_disable('sales."Order ""Lines"""', keep_column => false);
SELECT * FROM architect.tenant_disable_schema('sales');
SQL
	is($node->safe_psql($copy, q(SELECT count(*) FROM architect.tenant_registry; SELECT count(*) FROM pg_policy
		WHERE polname LIKE 'architect%'; SELECT count(*) FROM pg_class WHERE relnamespace = 'sales'::regnamespace AND relrowsecurity;
		SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname LIKE '%email_key')),
		"0\n0\n0\nUNIQUE (email)", "$how: tenant_disable undoes all");
}

run_ok('pg_dump as a script', 'pg_dump', '-f', "$dumps/shop.sql", 'shop');
run_ok('pg_dump as an archive', 'pg_dump', '-Fc', '-f', "$dumps/shop.dump", 'shop');
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(script parallel tables);

run_ok('psql restores a script', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dumps/shop.sql", '-d', 'script');
check_copy('script', 'script');
# The setting must not protect what the dump itself is about to.
$node->safe_psql('postgres', 'ALTER DATABASE parallel SET architect.tenant_protect_new = on');
run_ok('pg_restore works in parallel', 'pg_restore', '-j2', '--exit-on-error', '-d', 'parallel', "$dumps/shop.dump");
check_copy('parallel', 'archive, in parallel');

# Tables restored without the register keep their policies; tenant_enable takes them in again.
run_ok('pg_dump of a table', 'pg_dump', '-Fc', '-t', 'sales.orders', '-f', "$dumps/tables.dump", 'shop');
$node->safe_psql('tables', 'CREATE EXTENSION pg_architect; CREATE SCHEMA sales AUTHORIZATION clerk; GRANT USAGE ON SCHEMA sales TO app');
run_ok('pg_restore of a table', 'pg_restore', '--exit-on-error', '-d', 'tables', "$dumps/tables.dump");
is($node->safe_psql('tables', 'SELECT count(*) FROM sales.orders', extra_params => [ '-U', 'app' ]), '0', 'policies hold without the register');
is($node->safe_psql('tables', <<'SQL', extra_params => [ '-U', 'clerk' ]), "\nsales.orders|\n\nf|f|0", 'tenant_enable and tenant_disable know them');
SELECT architect.tenant_enable('sales.orders');
SELECT relation::text, problem FROM architect.tenant_tables;
SELECT architect.tenant_disable('sales.orders');
SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = class.oid)
FROM pg_class AS class WHERE oid = 'sales.orders'::regclass;
SQL

$node->stop;
done_testing();
