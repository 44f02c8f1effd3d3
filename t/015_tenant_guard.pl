# With the library preloaded, what tenant_enable protects stays protected when its
# policies are dropped or outvoted, and row-level security stays on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_architect'");
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE shop LOGIN;
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
CREATE SCHEMA s AUTHORIZATION shop;
SQL

# Runs as a role, acting as tenant a; returns what comes out, or the first line of the error.
sub as
{
	my ($role, $sql, $database) = @_;
	my ($out, $err);

	$node->psql($database // 'postgres', "BEGIN; SELECT architect.tenant_set('a') \\g /dev/null\n$sql; COMMIT;",
		stdout => \$out, stderr => \$err, connstr => undef, extra_params => [ '-U', $role ]);
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $out;
}

# Runs as the owner outside of any tenant.
sub owner
{
	my ($sql, $database) = @_;
	my ($out, $err);

	$node->psql($database // 'postgres', $sql, stdout => \$out, stderr => \$err, extra_params => [ '-U', 'shop' ]);
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $out;
}

sub sql { return $node->safe_psql('postgres', @_); }

# Drops every policy of a table, and lets everybody see everything.
sub open_up
{
	my ($table, $database) = @_;

	owner("DROP POLICY architect_tenant ON $table; DROP POLICY architect_tenant_floor ON $table; "
		  . "CREATE POLICY open ON $table USING (true) WITH CHECK (true)", $database);
}

is(owner(<<'SQL'), '', 'tables are made and protected');
CREATE TABLE s.orders (id int PRIMARY KEY, tenant_id text NOT NULL, total int);
CREATE TABLE s.parts (id int, tenant_id text NOT NULL, PRIMARY KEY (tenant_id, id)) PARTITION BY LIST (tenant_id);
CREATE TABLE s.part_a PARTITION OF s.parts FOR VALUES IN ('a');
CREATE TABLE s.part_b PARTITION OF s.parts FOR VALUES IN ('b');
INSERT INTO s.orders VALUES (1, 'a', 10), (2, 'b', 20);
INSERT INTO s.parts VALUES (1, 'a'), (2, 'b');
GRANT USAGE ON SCHEMA s TO app, support;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s TO app, support;
SELECT architect.tenant_enable('s.orders') \g /dev/null
SELECT architect.tenant_enable('s.parts') \g /dev/null
SQL

# A plan from before the policies go is made anew, and a session that has seen the table before hears of it.
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$session->query_safe("SET app.tenant_id = 'a'");
$session->query_safe('PREPARE every AS SELECT count(*) FROM s.orders');
is($session->query_safe('EXECUTE every'), '1', 'a prepared statement sees the tenant\'s rows');

my $with_policies = as('app', 'EXPLAIN (COSTS OFF) SELECT * FROM s.orders');
my $compared = () = $with_policies =~ /tenant_text/g;
is($compared, 1, 'with its policies in the catalog a row is compared once');

open_up('s.orders');
is(sql("SELECT string_agg(polname, ' ') FROM pg_policy WHERE polrelid = 's.orders'::regclass"), 'open',
	'only a policy that lets everything through is left');
is($session->query_safe('EXECUTE every'), '1', 'a prepared statement still sees no more');
is(as('app', 'SELECT count(*) FROM s.orders'), '1', 'reads are held');
is(as('app', 'EXPLAIN (COSTS OFF) SELECT * FROM s.orders'), $with_policies, 'by the same plan');
like(as('app', "INSERT INTO s.orders VALUES (3, 'b', 1)"), qr/violates row-level security/, 'inserts are held');
like(as('app', "UPDATE s.orders SET tenant_id = 'b'"), qr/violates row-level security/, 'rows cannot be moved');
is(as('app', "WITH gone AS (DELETE FROM s.orders RETURNING 1) SELECT count(*) FROM gone"), '1', 'deletes are held');
like(as('app', "INSERT INTO s.orders VALUES (2, 'a', 1) ON CONFLICT (id) DO UPDATE SET total = 0"),
	qr/violates row-level security/, 'an upsert of another tenant\'s row is held');
is(as('shop', 'SELECT count(*) FROM s.orders'), '0', 'the owner is held as well');
is(sql('SELECT count(*) FROM s.orders'), '1', 'a superuser is not');
$session->quit;

# Partitions are held by themselves.
open_up($_) foreach ('s.parts', 's.part_a', 's.part_b');
is(as('app', 'SELECT count(*) FROM s.parts'), '1', 'a partitioned table is held');
is(as('app', 'SELECT count(*) FROM s.part_b'), '0', 'a partition that is addressed directly is held');

# A column that was renamed is still the tenant's; one that is gone opens nothing.
owner('ALTER TABLE s.orders RENAME tenant_id TO client');
is(as('app', "INSERT INTO s.orders VALUES (5, 'a', 1); SELECT count(*) FROM s.orders"), '1', 'a renamed column is followed');
like(as('app', "INSERT INTO s.orders VALUES (6, 'b', 1)"), qr/violates row-level security/, 'for writes too');

# Partitions are followed as well, and tables of a type; a table of somebody else is not.
owner(<<'SQL');
CREATE TYPE s.sort AS (id int, tenant_id text);
CREATE TABLE s.typed OF s.sort (tenant_id NOT NULL);
SELECT architect.tenant_enable('s.typed') \g /dev/null
CREATE TABLE s.left_alone (id int, tenant_id text, client text);
SELECT architect.tenant_enable('s.left_alone') \g /dev/null
ALTER TABLE s.left_alone DROP COLUMN tenant_id CASCADE;
ALTER TABLE s.parts RENAME tenant_id TO client;
ALTER TYPE s.sort RENAME ATTRIBUTE tenant_id TO client CASCADE;
SQL
is(sql("SELECT string_agg(relation || ' ' || column_name, ', ' ORDER BY relation::text) FROM architect.tenant_registry"
	. " WHERE relation::text ~ 'part|typed|left'"),
	's.left_alone tenant_id, s.part_a client, s.part_b client, s.parts client, s.typed client', 'the tables of the command are');

# Roles that the table was not protected for have policies of their own.
owner(<<'SQL');
CREATE TABLE s.tickets (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO s.tickets VALUES (1, 'a'), (2, 'b');
GRANT ALL ON s.tickets TO app, support;
SELECT architect.tenant_enable('s.tickets', roles => '{app}') \g /dev/null
CREATE POLICY support ON s.tickets TO support USING (true);
DROP POLICY architect_tenant_floor ON s.tickets;
CREATE POLICY open ON s.tickets USING (true);
SQL
is(as('app', 'SELECT count(*) FROM s.tickets'), '1', 'the roles of tenant_enable are held');
is(as('support', 'SELECT count(*) FROM s.tickets'), '2', 'others are not');

# Whoever cannot be found under the name that he had is held with all others.
sql('ALTER ROLE app RENAME TO renamed');
is(as('renamed', 'SELECT count(*) FROM s.tickets'), '1', 'a renamed role is held');
is(as('support', 'SELECT count(*) FROM s.tickets'), '1', 'and all others meanwhile');
sql('ALTER ROLE renamed RENAME TO app');
is(as('support', 'SELECT count(*) FROM s.tickets'), '2', 'until it is there again');

# Plans from before tenant_enable, and children of a table that was not partitioned.
owner(<<'SQL');
CREATE TABLE s.events (id int, tenant_id text NOT NULL);
CREATE TABLE s.events_old () INHERITS (s.events);
INSERT INTO s.events VALUES (1, 'a'), (2, 'b');
INSERT INTO s.events_old VALUES (3, 'a'), (4, 'b');
GRANT ALL ON s.events, s.events_old TO app;
SQL
$session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$session->query_safe("SET app.tenant_id = 'a'; SET plan_cache_mode = force_generic_plan");
$session->query_safe("PREPARE $_ AS SELECT count(*) FROM s.$_") foreach ('events', 'events_old');
is($session->query_safe('EXECUTE events') . $session->query_safe('EXECUTE events_old'), '42', 'plans of a free table');
owner("SELECT architect.tenant_enable('s.events')");
is($session->query_safe('EXECUTE events') . $session->query_safe('EXECUTE events_old'), '21',
	'do not outlive its protection');
open_up($_) foreach ('s.events', 's.events_old');
is($session->query_safe('EXECUTE events') . $session->query_safe('EXECUTE events_old'), '21', 'nor do those with policies');
$session->quit;
is(as('app', 'SELECT count(*) FROM s.events'), '2', 'a parent is held');
is(as('app', 'SELECT count(*) FROM s.events_old'), '1', 'a child that is addressed directly is held');

owner('ALTER TABLE s.events_old NO INHERIT s.events; ALTER TABLE s.events DROP COLUMN tenant_id CASCADE');
is(as('app', 'SELECT count(*) FROM s.events'), '0', 'without its column a table shows nothing');

# Row-level security stays on.
foreach my $lift ('DISABLE ROW LEVEL SECURITY', 'NO FORCE ROW LEVEL SECURITY', 'ADD extra int, NO FORCE ROW LEVEL SECURITY')
{
	like(owner("ALTER TABLE s.tickets $lift"), qr/permission denied to take row-level security from table/, "refused: $lift");
}
like(owner('ALTER TABLE s.part_b DISABLE ROW LEVEL SECURITY'), qr/permission denied/, 'refused on a partition');
like(owner("DO \$\$BEGIN EXECUTE 'ALTER TABLE s.tickets DISABLE ROW LEVEL SECURITY'; END\$\$"), qr/permission denied/, 'refused in a function');
is(owner('ALTER TABLE s.tickets ADD note text'), '', 'other changes are let through');
is(owner('CREATE TABLE s.free (id int); ALTER TABLE s.free ENABLE ROW LEVEL SECURITY; ALTER TABLE s.free DISABLE ROW LEVEL SECURITY'),
	'', 'and other tables');
sql('ALTER TABLE s.tickets NO FORCE ROW LEVEL SECURITY; ALTER TABLE s.tickets FORCE ROW LEVEL SECURITY');
pass('a superuser may');
sql('REVOKE EXECUTE ON FUNCTION architect.tenant_disable FROM PUBLIC');
like(owner("SELECT architect.tenant_disable('s.tickets')"), qr/permission denied for function/, 'an administrator can close the way out');
sql('GRANT EXECUTE ON FUNCTION architect.tenant_disable TO PUBLIC');
is(owner("SELECT architect.tenant_disable('s.tickets') \\g /dev/null"), '', 'tenant_disable is the way out');
is(as('app', 'SELECT count(*) FROM s.tickets'), '2', 'and then nothing is held any more');

# A restored copy is held as well.
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', '-d', $node->connstr('postgres') ], 'dump');
sql('CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('copy'), $node->basedir . '/dump' ], 'restore');
is(as('app', 'SELECT count(*) FROM s.orders', 'copy'), '1', 'reads are held in a restored copy');
like(as('app', "INSERT INTO s.orders VALUES (9, 'b', 1)", 'copy'), qr/violates row-level security/, 'and writes');

# Where the extension is not created, a schema of its name is anybody's.
sql('CREATE DATABASE other');
$node->safe_psql('other', <<'SQL');
CREATE SCHEMA architect;
CREATE TABLE architect.tenant_registry (relation int, column_name int, kind int, roles int);
INSERT INTO architect.tenant_registry SELECT 0, 1, 1, 1;
CREATE TABLE t (id int);
INSERT INTO t VALUES (1);
GRANT SELECT ON t TO app;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY open ON t USING (true);
UPDATE architect.tenant_registry SET relation = 't'::regclass::oid::int;
SET ROLE app;
SELECT * FROM t;
RESET ROLE;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
SQL
pass('it is left alone');

$node->stop;
done_testing();
