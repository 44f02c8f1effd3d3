# What is audited, and the log, survive pg_dump and restore, and capturing goes on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

my $dumps = PostgreSQL::Test::Utils::tempdir();

# Runs a script as one session and returns its answers and errors.
sub session
{
	my ($database, $sql, %params) = @_;
	my ($out, $err);

	$node->psql($database, $sql, stdout => \$out, stderr => \$err, on_error_stop => 0, %params);
	return ($out, $err);
}

sub run_ok
{
	my ($what, @command) = @_;
	my ($stdout, $stderr) = run_command([ @command, '-h', $node->host, '-p', $node->port ]);
	is($stderr, '', $what);
}

# A database with every kind of audited table, made by their owner.
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE ROLE guest LOGIN; CREATE DATABASE shop');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA sales AUTHORIZATION clerk;
GRANT USAGE ON SCHEMA sales TO guest;
SQL
$node->safe_psql('shop', <<'SQL', extra_params => [ '-U', 'clerk' ]);
SET search_path = sales;
CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric, note jsonb);
CREATE TABLE "Order ""Lines""" ("Order" int, "line no" int, "näme" text, PRIMARY KEY ("Order", "line no"));
CREATE TABLE events (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_2 PARTITION OF events DEFAULT PARTITION BY LIST (id);
CREATE TABLE events_2_default PARTITION OF events_2 DEFAULT;
CREATE TABLE feed (id int PRIMARY KEY, v int);
CREATE TABLE visits (id int NOT NULL, draft bool, v int);
CREATE UNIQUE INDEX visits_id ON visits (id);
CREATE TABLE people (gone int, id int PRIMARY KEY, card text, seen int, name text);
ALTER TABLE people DROP gone;
CREATE TABLE quiet (id int PRIMARY KEY);
CREATE TABLE lost (id int PRIMARY KEY);

SELECT architect.audit_enable('lost');
SELECT architect.audit_retain('lost', '1 year');
SELECT architect.audit_hold('lost', 'case 17');
DROP TABLE lost;
SELECT architect.audit_enable('orders', capture => 'full');
SELECT architect.audit_enable('"Order ""Lines"""', exclude => '{näme}');
SELECT architect.audit_enable('events', truncate => 'rows');
SELECT architect.audit_enable('feed', replica => true);
SELECT architect.audit_enable('visits', condition => 'NOT draft', key => '{id}', truncate => 'refuse');
SELECT architect.audit_enable('people', mask => '{card}', exclude => '{seen}');

INSERT INTO orders SELECT i, 'new', i * 1.10, jsonb_build_object('i', i) FROM generate_series(1, 50) AS i;
UPDATE orders SET status = 'paid' WHERE id % 2 = 0;
INSERT INTO "Order ""Lines""" VALUES (1, 1, 'a'), (1, 2, 'b');
UPDATE "Order ""Lines""" SET "line no" = 3 WHERE "line no" = 2;
INSERT INTO events VALUES (1, 1, 'low'), (1, 20, 'high');
UPDATE events SET at = 30 WHERE at = 1;
INSERT INTO feed VALUES (1, 1);
INSERT INTO visits VALUES (1, true, 1), (2, false, 2);
INSERT INTO people VALUES (1, '4111-1111', 0, 'Ann');
BEGIN;
SELECT architect.audit_set_actor('alice', '{"request": "r-1"}');
DELETE FROM orders WHERE id = 50;
UPDATE people SET card = '4222-2222';
COMMIT;
INSERT INTO quiet VALUES (1);
SELECT architect.audit_retain('visits', '1 month 2 days 3 hours');
SQL

# An administrator has added to the log.
$node->safe_psql('shop', <<'SQL');
CREATE INDEX audit_log_context_idx ON architect.audit_log USING gin (context);
ALTER TABLE architect.audit_log ADD CONSTRAINT audit_log_named CHECK (changed_by <> '');
CREATE ROLE auditor LOGIN;
GRANT SELECT ON architect.audit_log TO auditor;
CREATE POLICY auditor_reads_all ON architect.audit_log FOR SELECT TO auditor USING (true);
SQL

# Everything that a restored copy must have, whatever its OIDs are.
my $state = <<'SQL';
SELECT log FROM architect.audit_log AS log ORDER BY id;
SELECT registered FROM architect.audit_tables AS registered ORDER BY table_id;
SELECT retention FROM architect.audit_retention AS retention ORDER BY table_id;
SELECT to_jsonb(status) - '{log_bytes,growth_per_day}'::text[] FROM architect.audit_status AS status ORDER BY table_id;
SELECT last_value, is_called FROM architect.audit_log_id_seq;
SELECT last_value, is_called FROM architect.audit_tables_table_id_seq;
SELECT polname, polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid) FROM pg_policy ORDER BY polname;
SELECT relname, relkind, relacl, relrowsecurity, relowner::regrole, relreplident, pg_get_expr(relpartbound, oid)
FROM pg_class
WHERE relnamespace = 'architect'::regnamespace
ORDER BY relname;
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'architect'::regnamespace
ORDER BY 1, 2;
SELECT tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'architect%' ORDER BY 1, 2;
SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY evtname;
SELECT deptype, pg_identify_object(classid, objid, 0)::text
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass
ORDER BY 2;
SQL
my $original = $node->safe_psql('shop', $state);

# What the owner does next in a restored copy.  Numbers of log rows follow those in
# the dump; a record's history goes on; TRUNCATE is seen in every partition.
my $go_on = <<'SQL';
SET search_path = sales;
UPDATE orders SET total = total + 1 WHERE id = 1;
INSERT INTO "Order ""Lines""" VALUES (2, 1, 'c');
UPDATE events SET v = 'moved' WHERE at = 30;
TRUNCATE events_2_default;
INSERT INTO visits VALUES (3, true, 1), (4, false, 2);
UPDATE people SET card = '4333-3333', seen = 1;
UPDATE people SET seen = 2;
SELECT architect.audit_enable('quiet');
INSERT INTO quiet VALUES (2);
SQL
my $as_replica = <<'SQL';
SET session_replication_role = replica;
UPDATE sales.feed SET v = 2;
UPDATE sales.orders SET total = 0 WHERE id = 2;
SQL
my $gone_on = <<'SQL';
SELECT table_id, table_name, record_id, operation, old_values, new_values
FROM architect.audit_log
WHERE id > LAST
ORDER BY id
SQL
my $last = $node->safe_psql('shop', 'SELECT max(id) FROM architect.audit_log');
$gone_on =~ s/LAST/$last/;
my $expected = <<'SQL';
2|orders|1|UPDATE|{"id": 1, "note": {"i": 1}, "total": 1.10, "status": "new"}|{"id": 1, "note": {"i": 1}, "total": 2.10, "status": "new"}
3|Order "Lines"|["2", "1"]|INSERT||{"Order": 2, "line no": 1}
4|events|["1", "30"]|UPDATE|{"v": "low"}|{"v": "moved"}
4|events|["1", "20"]|TRUNCATE|{"v": "high", "at": 20, "id": 1}|
4|events|["1", "30"]|TRUNCATE|{"v": "moved", "at": 30, "id": 1}|
6|visits|4|INSERT||{"v": 2, "id": 4, "draft": false}
7|people|1|UPDATE|{"card": "***"}|{"card": "***"}
8|quiet|2|INSERT||{"id": 2}
5|feed|1|UPDATE|{"v": 1}|{"v": 2}
SQL
chomp $expected;

# Compares line by line and shows the lines that differ.
sub is_same
{
	my ($seen, $wanted, $what) = @_;
	my %seen = map { $_ => 1 } split /\n/, $seen;
	my %wanted = map { $_ => 1 } split /\n/, $wanted;

	ok($seen eq $wanted, $what)
	  or diag(map({ "missing: $_\n" } grep { !$seen{$_} } sort keys %wanted),
		map({ "unexpected: $_\n" } grep { !$wanted{$_} } sort keys %seen));
}

sub check_copy
{
	my ($copy, $how) = @_;

	is_same($node->safe_psql($copy, $state), $original, "$how: log, register, triggers and rights are as they were");
	is($node->safe_psql($copy, 'SELECT count(*) FROM architect.audit_status WHERE problem IS NOT NULL'),
		'0', "$how: nothing is wrong with the audit");
	is( $node->safe_psql($copy, 'SELECT count(*) FROM architect.audit_log', extra_params => [ '-U', 'clerk' ]),
		$node->safe_psql('shop', 'SELECT count(*) FROM architect.audit_log WHERE table_id <> 1'),
		"$how: the owner reads the log rows of the tables that are left");
	is($node->safe_psql($copy, 'SELECT count(*) FROM architect.audit_log', extra_params => [ '-U', 'guest' ]),
		'0', "$how: somebody else reads nothing");
	is( $node->safe_psql($copy, 'SELECT count(*) FROM architect.audit_log', extra_params => [ '-U', 'auditor' ]),
		$node->safe_psql('shop', 'SELECT count(*) FROM architect.audit_log'),
		"$how: what the administrator granted is still granted");
	foreach my $write ('DELETE FROM architect.audit_log', 'UPDATE architect.audit_log SET id = 0',
		'TRUNCATE architect.audit_log')
	{
		my ($out, $err) = session($copy, $write, extra_params => [ '-U', 'clerk' ]);
		like($err, qr/permission denied for table audit_log/, "$how: the owner cannot change the log: $write");
	}

	my (undef, $err) = session($copy, $go_on, extra_params => [ '-U', 'clerk' ]);
	is($err, '', "$how: writing goes on");
	$node->safe_psql($copy, $as_replica);
	is($node->safe_psql($copy, $gone_on), $expected, "$how: capturing goes on");
	(undef, $err) = session($copy, 'TRUNCATE sales.visits');
	like($err, qr/cannot truncate table "visits"/, "$how: TRUNCATE is still refused");
}

run_ok('pg_dump as a script', 'pg_dump', '-f', "$dumps/shop.sql", 'shop');
run_ok('pg_dump as an archive', 'pg_dump', '-Fc', '-f', "$dumps/shop.dump", 'shop');

$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(script parallel single cleaned);

run_ok('psql restores a script', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dumps/shop.sql", '-d', 'script');
check_copy('script', 'script');

run_ok('pg_restore works in parallel', 'pg_restore', '-j2', '--exit-on-error', '-d', 'parallel', "$dumps/shop.dump");
check_copy('parallel', 'archive, in parallel');

run_ok('pg_restore works in one transaction', 'pg_restore', '-1', '-d', 'single', "$dumps/shop.dump");
check_copy('single', 'archive, in one transaction');

# A dump can replace an older copy, audited tables and log included.  (Not so tables with
# partitions of partitions, which pg_restore cannot drop one by one.)
$node->safe_psql('postgres', 'CREATE DATABASE part TEMPLATE shop');
$node->safe_psql('part', 'DROP TABLE sales.events');
run_ok('pg_dump of a part', 'pg_dump', '-Fc', '-f', "$dumps/part.dump", 'part');
run_ok('pg_restore of a part', 'pg_restore', '--exit-on-error', '-d', 'cleaned', "$dumps/part.dump");
my $part = $node->safe_psql('cleaned', $state);
$node->safe_psql('cleaned', 'DELETE FROM sales.orders; ALTER TABLE architect.audit_log ADD own int');
run_ok('pg_restore --clean works', 'pg_restore', '--clean', '--if-exists', '--exit-on-error', '-d', 'cleaned', "$dumps/part.dump");
is_same($node->safe_psql('cleaned', $state), $part, 'archive, over an older copy: all is as in the dump');

# A copy within the server, which keeps the OIDs, is a copy like any other.
$node->safe_psql('postgres', 'CREATE DATABASE template TEMPLATE shop');
check_copy('template', 'template');

# Names in the triggers are those at the time of audit_enable.  In the original they
# follow a renamed column; in a copy of it they cannot, and the first write says so
# rather than let out what is masked.
$node->safe_psql('shop', <<'SQL');
ALTER TABLE sales.people RENAME card TO card_number;
ALTER TABLE sales.people ADD card text;
UPDATE sales.people SET card_number = '4444-4444';
ALTER TABLE sales.people DROP card;
SQL
run_ok('pg_dump after a column was renamed', 'pg_dump', '-Fc', '-f', "$dumps/renamed.dump", 'shop');
$node->safe_psql('postgres', 'CREATE DATABASE renamed');
run_ok('pg_restore after a column was renamed', 'pg_restore', '--exit-on-error', '-d', 'renamed', "$dumps/renamed.dump");
my ($out, $err) = session('renamed', <<'SQL');
\set VERBOSITY verbose
UPDATE sales.people SET card_number = '4555-5555';
DELETE FROM sales.people;
INSERT INTO sales.people (id, card_number) VALUES (2, '4555-5555');
SQL
my @errors = $err =~ /ERROR:  42703: column "card" of table "people" does not exist, but its audit names it/g;
is(scalar @errors, 3, 'a masked column that was renamed before the dump is an error in the copy');
like($err, qr/HINT:  Call architect.audit_enable again with the columns as they are now\./, 'the error says what to do');
$node->safe_psql('renamed', <<'SQL');
SELECT architect.audit_enable('sales.people', mask => '{card_number}', exclude => '{seen}');
UPDATE sales.people SET card_number = '4555-5555', seen = 9;
SQL
is( $node->safe_psql('renamed', <<'SQL'), qq({"card_number": "***"}|7\n0), 'audit_enable with the new name heals it');
SELECT new_values, table_id FROM architect.audit_log ORDER BY id DESC LIMIT 1;
SELECT count(*) FROM architect.audit_log AS log WHERE log::text ~ '4[1-5]{3}-';
SQL

# Tables restored without the extension's data have triggers and no number: the first
# write says so, audit_enable heals it.
run_ok('pg_dump of two tables', 'pg_dump', '-Fc', '-t', 'sales.orders', '-t', 'sales.events*', '-f', "$dumps/tables.dump", 'shop');
$node->safe_psql('postgres', 'CREATE DATABASE tables');
$node->safe_psql('tables', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA sales AUTHORIZATION clerk;
SQL
run_ok('pg_restore of two tables', 'pg_restore', '--exit-on-error', '-d', 'tables', "$dumps/tables.dump");
($out, $err) = session('tables', <<'SQL', extra_params => [ '-U', 'clerk' ]);
\set VERBOSITY verbose
UPDATE sales.orders SET total = 0;
TRUNCATE sales.events;
SELECT relation FROM architect.audit_status WHERE problem LIKE 'not registered%' ORDER BY relation::text;
SQL
like($err, qr/ERROR:  55000: table "orders" has audit triggers but is not registered/,
	'a table without a number cannot be written');
like($err, qr/HINT:  Call architect.audit_enable for the table again\./, 'the error says that audit_enable heals it');
like($err, qr/ERROR:  55000: table "events" has audit triggers but is not registered/,
	'a table without a number cannot be truncated');
is($out, "sales.events\nsales.orders", 'audit_status shows the tables without a number');
is( $node->safe_psql('tables', <<'SQL', extra_params => [ '-U', 'clerk' ]), "1|orders|48\n2|events|2\n0", 'audit_enable registers them');
SET client_min_messages = warning;
SELECT FROM architect.audit_enable('sales.orders', capture => 'full');
SELECT FROM architect.audit_enable('sales.events', truncate => 'rows');
UPDATE sales.orders SET total = 0 WHERE id > 1;
TRUNCATE sales.events;
SELECT table_id, table_name, count(*) FROM architect.audit_log GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) FROM architect.audit_status WHERE problem IS NOT NULL;
SQL

$node->stop;
done_testing();
