# A standby has the log and captures from its promotion on; a logical subscriber captures
# what it applies where that is asked for.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 5
logical_decoding_work_mem = 64kB
wal_consistency_checking = all
CONF
$primary->start;
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# ---------------------------------------------------------------- physical

$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE clerk LOGIN;
GRANT CREATE ON SCHEMA public TO clerk;
SET ROLE clerk;
CREATE TABLE accounts (id int PRIMARY KEY, balance int, doc text);
SELECT architect.audit_enable('accounts', mask => '{doc}');
INSERT INTO accounts SELECT i, 0, repeat('x', 10 * i) FROM generate_series(1, 1500) AS i;
UPDATE accounts SET balance = 1 WHERE id <= 10;
SQL
$primary->wait_for_catchup($standby);

# The standby reads the log, and what the extension says, as the primary does.
my $views = <<'SQL';
SELECT log FROM architect.audit_log AS log ORDER BY id;
SELECT status FROM architect.audit_status AS status;
SELECT help FROM architect.help AS help;
SELECT plan FROM architect.uninstall_plan() AS plan;
SELECT registered FROM architect.audit_tables AS registered;
SELECT architect.version(), architect.audit_readable();
SQL
is($standby->safe_psql('postgres', $views), $primary->safe_psql('postgres', $views),
	'a standby shows what the primary shows');
is( $standby->safe_psql('postgres', 'SELECT count(*) FROM architect.audit_log', extra_params => [ '-U', 'clerk' ]),
	'1510', 'on a standby the owner reads the log');

# What would write is refused by the server, as all writing is.
foreach my $call (
	"architect.audit_enable('accounts')", "architect.audit_disable('accounts')", 'architect.audit_maintain()')
{
	my ($out, $err);
	$standby->psql('postgres', "SELECT $call", stdout => \$out, stderr => \$err);
	like($err, qr/ERROR:  cannot .* (read-only transaction|recovery)/, "on a standby $call is refused");
}

# After its promotion it captures, with numbers above those that it received.
$primary->safe_psql('postgres', "INSERT INTO accounts VALUES (2000, 0, 'last')");
$primary->wait_for_catchup($standby);
my $last = $standby->safe_psql('postgres', 'SELECT max(id) FROM architect.audit_log');
$standby->promote;
$standby->safe_psql('postgres', 'UPDATE accounts SET balance = 5 WHERE id IN (1, 2000)',
	extra_params => [ '-U', 'clerk' ]);
is( $standby->safe_psql('postgres', <<SQL), <<'LOG' =~ s/\n\z//r, 'a promoted standby captures');
SELECT record_id, operation, old_values, new_values, changed_by
FROM architect.audit_log
WHERE id > $last
ORDER BY record_id
SQL
1|UPDATE|{"balance": 1}|{"balance": 5}|clerk
2000|UPDATE|{"balance": 0}|{"balance": 5}|clerk
LOG
is( $primary->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE id > $last"),
	'0', 'the primary is left alone');
$standby->stop;

# ---------------------------------------------------------------- logical

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$subscriber->start;

# Both sides have the tables; the subscriber's parts has partitions of its own.
my $tables = <<'SQL';
CREATE TABLE taken (id int PRIMARY KEY, v text, secret text);
CREATE TABLE ignored (id int PRIMARY KEY, v text);
CREATE TABLE chosen (id int PRIMARY KEY, v int);
CREATE TABLE parts (id int, at int, v text, PRIMARY KEY (id, at));
SQL
$primary->safe_psql('postgres', <<"SQL");
$tables
INSERT INTO taken VALUES (1, 'before', 'pssst'), (2, 'before', 'pssst');
INSERT INTO ignored VALUES (1, 'before');
INSERT INTO parts VALUES (1, 1, 'before');
CREATE PUBLICATION p FOR TABLE taken, ignored, chosen, parts;
SQL
$tables =~ s/\(id, at\)\)/(id, at)) PARTITION BY RANGE (at)/;
$subscriber->safe_psql('postgres', <<"SQL");
CREATE EXTENSION pg_architect;
CREATE ROLE clerk LOGIN;
CREATE ROLE courier LOGIN SUPERUSER;
GRANT CREATE ON SCHEMA public TO clerk;
SET ROLE clerk;
$tables
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
CREATE FUNCTION say_so() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''an ordinary trigger fired''; END';
CREATE TRIGGER say_so AFTER INSERT ON ignored FOR EACH STATEMENT EXECUTE FUNCTION say_so();
SELECT architect.audit_enable('taken', mask => '{secret}', replica => true);
SELECT architect.audit_enable('ignored', replica => false);
SELECT architect.audit_enable('chosen', condition => 'v > 0', replica => true, truncate => 'rows');
SELECT architect.audit_enable('parts', replica => true);
SQL

my $connection = $primary->connstr . ' dbname=postgres';
my $streaming = $subscriber->pg_version < 16 ? 'on' : 'parallel';
$subscriber->safe_psql(
	'postgres', <<"SQL",
CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p WITH (two_phase = true, streaming = $streaming)
SQL
	extra_params => [ '-U', 'courier' ]);
$subscriber->poll_query_until('postgres', q(SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel))
  or die 'the subscription does not start';

# Returns what was logged on the subscriber since the last call.
my $seen = 0;
sub logged
{
	my ($order) = @_;

	$primary->wait_for_catchup('s');
	my $rows = $subscriber->safe_psql('postgres', <<"SQL");
SELECT table_name, record_id, operation, old_values, new_values, changed_by
FROM architect.audit_log
WHERE id > $seen
ORDER BY $order
SQL
	my $transactions = $subscriber->safe_psql('postgres', <<"SQL");
SELECT count(DISTINCT transaction_id) || ' transactions' FROM architect.audit_log WHERE id > $seen
SQL
	$seen = $subscriber->safe_psql('postgres', 'SELECT max(id) FROM architect.audit_log');
	return "$rows\n$transactions\n";
}

# The rows that a subscription copies at first are captured where asked for.
is(logged('table_name, id'), <<'LOG', 'the initial copy is captured');
parts|["1", "1"]|INSERT||{"v": "before", "at": 1, "id": 1}|courier
taken|1|INSERT||{"v": "before", "id": 1, "secret": "***"}|courier
taken|2|INSERT||{"v": "before", "id": 2, "secret": "***"}|courier
2 transactions
LOG

# So are the rows that it applies: each once, in order, by the owner of the subscription,
# a transaction in one transaction.
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO taken VALUES (3, 'new', 'pssst');
UPDATE taken SET v = 'changed' WHERE id <= 2;
SAVEPOINT a;
UPDATE taken SET v = 'undone';
ROLLBACK TO a;
UPDATE taken SET secret = 'hush' WHERE id = 1;
UPDATE taken SET id = 30 WHERE id = 3;
DELETE FROM taken WHERE id = 2;
UPDATE ignored SET v = 'changed';
INSERT INTO chosen VALUES (1, 0), (2, 2);
UPDATE chosen SET v = v - 1;
UPDATE parts SET at = 15;
COMMIT;
SQL
is(logged('id'), <<'LOG', 'what is applied is captured');
taken|3|INSERT||{"v": "new", "id": 3, "secret": "***"}|courier
taken|1|UPDATE|{"v": "before"}|{"v": "changed"}|courier
taken|2|UPDATE|{"v": "before"}|{"v": "changed"}|courier
taken|1|UPDATE|{"secret": "***"}|{"secret": "***"}|courier
taken|3|UPDATE|{"id": 3}|{"id": 30}|courier
taken|2|DELETE|{"v": "changed", "id": 2, "secret": "***"}||courier
chosen|2|INSERT||{"v": 2, "id": 2}|courier
chosen|2|UPDATE|{"v": 2}|{"v": 1}|courier
parts|["1", "1"]|DELETE|{"v": "before", "at": 1, "id": 1}||courier
parts|["1", "15"]|INSERT||{"v": "before", "at": 15, "id": 1}|courier
1 transactions
LOG

# TRUNCATE arrives as the event, or the rows, that was chosen for the table.
$primary->safe_psql('postgres', 'TRUNCATE taken, ignored, chosen, parts');
is(logged('table_name, id'), <<'LOG', 'TRUNCATE is captured');
chosen|2|TRUNCATE|{"v": 1, "id": 2}||courier
parts||TRUNCATE|||courier
taken||TRUNCATE|||courier
1 transactions
LOG

# A prepared transaction is captured when it is committed, and not when it is rolled back.
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO taken VALUES (6, 'kept');
PREPARE TRANSACTION 'kept';
BEGIN;
INSERT INTO taken VALUES (7, 'dropped');
PREPARE TRANSACTION 'dropped';
SQL
$primary->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '2', 'a prepared transaction arrives');
is($subscriber->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE id > $seen"),
	'0', 'a prepared transaction does not show yet');
$primary->safe_psql('postgres', "ROLLBACK PREPARED 'dropped'; COMMIT PREPARED 'kept'");
is(logged('id'), <<'LOG', 'a prepared transaction is captured when it is committed');
taken|6|INSERT||{"v": "kept", "id": 6, "secret": "***"}|courier
1 transactions
LOG

# A large transaction, which is streamed before it commits, is captured whole.
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO taken SELECT i, i FROM generate_series(1001, 4000) AS i;
SAVEPOINT a;
INSERT INTO taken SELECT i, i FROM generate_series(4001, 7000) AS i;
ROLLBACK TO a;
INSERT INTO taken SELECT i, i FROM generate_series(7001, 9000) AS i;
COMMIT;
SQL
$primary->wait_for_catchup('s');
ok( $primary->poll_query_until('postgres', "SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 's'"),
	'a large transaction is streamed');
is( $subscriber->safe_psql('postgres', <<"SQL"), '5000|5000|1|1001|9000', 'a large transaction is captured whole');
SELECT count(*), count(DISTINCT record_id), count(DISTINCT transaction_id), min(record_id::int), max(record_id::int)
FROM architect.audit_log
WHERE id > $seen
SQL

# What users of the subscriber do themselves is captured in all audited tables.
$subscriber->safe_psql('postgres', "DROP TRIGGER say_so ON ignored; INSERT INTO ignored VALUES (9, 'local')", extra_params => [ '-U', 'clerk' ]);
is( $subscriber->safe_psql('postgres', 'SELECT record_id, changed_by FROM architect.audit_log ORDER BY id DESC LIMIT 1'),
	'9|clerk', 'local changes are captured without replica too');

$subscriber->stop;
$primary->stop;
done_testing();
