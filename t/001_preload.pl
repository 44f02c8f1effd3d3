# The library may be loaded everywhere, by shared_preload_libraries or for a session,
# and changes nothing where the extension is not created.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN');

# Returns the server's answers and errors, in order, to a script that goes on after an error.
sub transcript
{
	my ($database, $sql, %params) = @_;
	my ($out, $err);

	$node->psql(
		$database, "\\set VERBOSITY verbose\n$sql",
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		%params);
	$err =~ s/^psql:<stdin>:\d+: //mg;
	return "$out\n$err";
}

# What a database does every day.
my $workload = <<'SQL';
CREATE SCHEMA s;
CREATE TABLE s.parent (id int PRIMARY KEY, v text UNIQUE);
CREATE TABLE s.child (
    id int PRIMARY KEY,
    parent int REFERENCES s.parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE s.parts (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE s.parts_1 PARTITION OF s.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE s.parts_default PARTITION OF s.parts DEFAULT;
CREATE FUNCTION s.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO s.parts VALUES (NEW.id, NEW.id);
    EXCEPTION WHEN unique_violation THEN
        RAISE NOTICE 'seen before';
    END;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON s.parent FOR EACH ROW EXECUTE FUNCTION s.note();

COPY s.parent FROM stdin;
1	one
2	two
3	three
\.
COPY s.parent TO stdout;
INSERT INTO s.child VALUES (1, 1), (2, 2);
INSERT INTO s.parent VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *;
MERGE INTO s.parent USING (VALUES (2, 'zwei'), (4, 'vier')) AS given (id, v) ON given.id = parent.id
    WHEN MATCHED THEN UPDATE SET v = given.v
    WHEN NOT MATCHED THEN INSERT VALUES (given.id, given.v);
WITH gone AS (DELETE FROM s.parent WHERE id = 1 RETURNING *) SELECT * FROM gone;
SELECT * FROM s.child;

BEGIN;
SAVEPOINT a;
INSERT INTO s.parent VALUES (2, 'duplicate');
ROLLBACK TO a;
UPDATE s.parts SET at = 50 WHERE id = 3;
RELEASE a;
COMMIT AND CHAIN;
INSERT INTO s.child VALUES (9, 9);
COMMIT;
BEGIN;
TRUNCATE s.parts;
ROLLBACK;
BEGIN;
INSERT INTO s.parent VALUES (5, 'prepared');
PREPARE TRANSACTION 'p';
COMMIT PREPARED 'p';
SELECT tableoid::regclass, * FROM s.parts ORDER BY id, at;

BEGIN;
DECLARE c CURSOR FOR SELECT id FROM s.parent ORDER BY id;
FETCH 2 FROM c;
UPDATE s.parent SET v = 'here' WHERE CURRENT OF c;
FETCH 1 FROM c;
COMMIT;
TABLE s.parent ORDER BY id;
ALTER TABLE s.parts DETACH PARTITION s.parts_1;
ALTER TABLE s.parent ADD COLUMN w int DEFAULT 7, DROP COLUMN v;
VACUUM ANALYZE s.parent;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) DELETE FROM s.parts WHERE id = 3;
DROP SCHEMA s CASCADE;
SQL

# Objects that have to do with the library, in this database.
my $traces = <<'SQL';
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname ~ 'architect'
UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname ~ 'architect' OR probin ~ 'architect'
UNION ALL SELECT 'relation ' || relname FROM pg_class WHERE relname ~ 'architect'
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname ~ 'architect'
SQL

# What audit does in a database that has the extension.
my $audited = <<'SQL';
CREATE EXTENSION pg_architect;
CREATE TABLE accounts (id int PRIMARY KEY, balance int);
SELECT architect.audit_enable('accounts');
INSERT INTO accounts VALUES (1, 10), (2, 20);
BEGIN;
SELECT architect.audit_set_actor('alice');
UPDATE accounts SET balance = balance + 1;
COMMIT;
SELECT record_id, operation, old_values, new_values, changed_by = 'alice' FROM architect.audit_log ORDER BY id;
SQL

my $expected;
my $expected_audit;

foreach my $setting ('', 'shared_preload_libraries', 'session_preload_libraries')
{
	my $how = $setting || 'no preloading';
	my $preloaded = $setting ne '';

	$node->append_conf('postgresql.conf', "$setting = 'pg_architect'") if $preloaded;
	$node->restart;
	$node->safe_psql('postgres', 'CREATE DATABASE bare') if !defined $expected;
	$node->safe_psql('postgres', 'CREATE DATABASE with_extension');

	# A database without the extension behaves as it does without the library.
	my $seen = transcript('bare', $workload);
	$expected //= $seen;
	like($seen, qr/prepared/, "$how: the workload runs");
	is($seen, $expected, "$how: a database without the extension behaves as ever");
	is($node->safe_psql('bare', $traces), '', "$how: nothing of ours is in it");

	# One that has the extension works beside it, and leaves it as it was.
	$seen = transcript('with_extension', $audited);
	$expected_audit //= $seen;
	like($seen, qr/1\|UPDATE\|\{"balance": 10\}\|\{"balance": 11\}\|t/, "$how: audit works");
	is($seen, $expected_audit, "$how: audit works as it does without preloading");
	is(transcript('bare', $workload), $expected, "$how: the other database still behaves as ever");
	is($node->safe_psql('bare', $traces), '', "$how: nothing of ours has come into it");

	# Where the extension is not created its objects cannot be called, and that is all.
	like(
		transcript('bare', 'SELECT architect.version()'),
		qr/ERROR:  3F000: schema "architect" does not exist/,
		"$how: without the extension there is no schema");

	# The settings are there from the start, or once the library is loaded.
	my $load = $preloaded ? '' : "LOAD 'pg_architect';\n";
	is( $node->safe_psql('bare', "${load}SHOW architect.audit_partition; SHOW architect.audit_context"),
		"month\n",
		"$how: the settings have their defaults");
	is( $node->safe_psql('bare', <<SQL), "day\napplication_name, client_address", "$how: a superuser may set them");
$load
SET architect.audit_partition = 'day';
SET architect.audit_context = 'application_name, client_address';
SHOW architect.audit_partition;
SHOW architect.audit_context;
SQL
	$seen = transcript('bare', <<SQL);
$load
SET architect.audit_partition = 'decade';
SET architect.audit_context = 'password';
SET architect.no_such_setting = 1;
SQL
	like($seen, qr/ERROR:  22023: invalid value for parameter "architect.audit_partition": "decade"/,
		"$how: a partition covers a day, a week or a month");
	like($seen, qr/ERROR:  22023: invalid value for parameter "architect.audit_context": "password"/,
		"$how: the context is made of what is offered");
	like($seen, qr/ERROR:  42602: invalid configuration parameter name "architect.no_such_setting"/,
		"$how: a misspelt setting is an error");

	# An ordinary user may not change what the administrator has set, not even before
	# the library is loaded.
	$seen = transcript('with_extension', <<'SQL', extra_params => [ '-U', 'clerk' ]);
SET architect.audit_partition = 'day';
SET architect.audit_context = 'application_name';
SELECT architect.version() <> '' AS loaded;
SET architect.audit_partition = 'week';
SHOW architect.audit_partition;
SHOW architect.audit_context;
SQL
	like($seen, qr/permission denied to set parameter "architect.audit_partition"/,
		"$how: audit_partition is the superuser's");
	like($seen, qr/permission denied to set parameter "architect.audit_context"/,
		"$how: audit_context is the superuser's");
	like($seen, qr/^t\nmonth\n\n/, "$how: what an ordinary user tried to set does not count");

	$node->safe_psql('postgres', 'DROP DATABASE with_extension');
	$node->append_conf('postgresql.conf', "$setting = ''") if $preloaded;
}

# Settings in the configuration file count in every session, also where the library
# is loaded late; an invalid one there is reported and does not stop anybody.
$node->append_conf('postgresql.conf', <<'CONF');
architect.audit_partition = 'day'
architect.audit_context = 'application_name'
CONF
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE with_extension');
transcript('with_extension', $audited);
is( $node->safe_psql('with_extension', "SELECT DISTINCT context ? 'application_name' FROM architect.audit_log"),
	't',
	'audit_context counts when it stands in the configuration file');
is( $node->safe_psql('with_extension', <<'SQL'), 't', 'audit_partition counts when it stands in the configuration file');
SELECT count(*) > 10 FROM pg_inherits WHERE inhparent = 'architect.audit_log'::regclass
SQL
# The address of the client is known where it has one.
$node->append_conf('postgresql.conf', <<'CONF');
architect.audit_context = 'application_name, client_address'
listen_addresses = '127.0.0.1'
CONF
$node->restart;
$node->safe_psql('with_extension', 'DELETE FROM architect.audit_log; INSERT INTO accounts VALUES (10)');
$node->safe_psql(
	'with_extension', <<'SQL',
SET application_name = 'web "shop"';
INSERT INTO accounts VALUES (11);
BEGIN;
SELECT architect.audit_set_actor('alice', '{"application_name": "mine", "request": "r-1"}');
INSERT INTO accounts VALUES (12);
COMMIT;
SQL
	connstr => 'host=127.0.0.1 dbname=with_extension port=' . $node->port);
is( $node->safe_psql('with_extension', <<'SQL'), <<'LOG' =~ s/\n\z//r, 'the server adds what it knows of the client');
SELECT record_id, context ->> 'client_address', context ->> 'application_name', context ->> 'request'
FROM architect.audit_log
ORDER BY id
SQL
10||001_preload.pl|
11|127.0.0.1|web "shop"|
12|127.0.0.1|web "shop"|r-1
LOG

$node->append_conf('postgresql.conf', "architect.audit_context = 'password'");
$node->restart;
my $seen = transcript('with_extension', 'INSERT INTO accounts VALUES (3); SELECT count(*) FROM accounts WHERE id < 10;');
like($seen, qr/WARNING: .*invalid value for parameter "architect.audit_context"/,
	'an invalid value in the configuration file is reported');
like($seen, qr/^3\n/, 'an invalid value in the configuration file stops nobody');

$node->stop;
done_testing();
