# Seals with transactions that are in progress, prepared or lost in a crash, in a
# restored copy, and in a copy of the database.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 5
autovacuum = off
CONF
$node->start;

sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'postgres', $query); }

my $problems = 'SELECT seal, log_id, problem FROM architect.audit_verify_seals()';

# The ids that a seal has records of.
sub sealed
{
	my ($seal, $db) = @_;
	return sql("SELECT string_agg(record.log_id::text, ' ' ORDER BY record.log_id)
				FROM architect.audit_seal_rows, architect._audit_seal_records(data) AS record WHERE seal = $seal", $db);
}

sql(<<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE item (id int PRIMARY KEY, v text);
SELECT architect.audit_enable('item');
INSERT INTO item VALUES (1, 'one');
SQL

# Each transaction lands in the first seal after its commit, whenever it began.
my $slow = $node->background_psql('postgres');
$slow->query_safe("BEGIN; INSERT INTO item VALUES (2, 'slow')");
sql("BEGIN; INSERT INTO item VALUES (3, 'prepared'); PREPARE TRANSACTION 'waits'");
sql("BEGIN; INSERT INTO item VALUES (4, 'lost'); PREPARE TRANSACTION 'goes'");
sql("INSERT INTO item VALUES (5, 'five')");
is(sql('SELECT architect.audit_seal()'), 1, 'sealed beside open transactions');
is(sealed(1), '1 5', 'only what was committed is in the seal');
is(sql($problems), '', 'what is in progress is not missed');

sql("COMMIT PREPARED 'waits'");
sql("ROLLBACK PREPARED 'goes'");
is(sql('SELECT architect.audit_seal()'), 2, 'sealed the prepared one');
is(sealed(2), '3', 'the prepared transaction is in the seal after its commit');
$slow->query_safe("INSERT INTO item VALUES (6, 'slow too'); COMMIT");
$slow->quit;
is(sql('SELECT architect.audit_seal()'), 3, 'sealed the slow one');
is(sealed(3), '2 6', 'the slow transaction is in the seal after its commit, with all of its rows');
is(sql($problems), '', 'all holds');

# A row of a transaction that a seal did not see cannot be slipped into it afterwards.
is(sql("BEGIN; INSERT INTO architect.audit_log SELECT (jsonb_populate_record(log, '{\"id\": 1000}')).*
		FROM architect.audit_log AS log WHERE log.id = 2; $problems"), '3|1000|inserted',
	'a row that is slipped into a slow transaction is found');

# Many transactions at once while seals are made.
sql('CREATE TABLE busy (id bigserial PRIMARY KEY, v text)');
sql("SELECT architect.audit_enable('busy')");
$node->command_ok(
	[ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 150, '-d', $node->connstr('postgres'),
		'-f', write_script('write', <<'BENCH') . '@20', '-f', write_script('seal', <<'BENCH') . '@1' ],
BEGIN;
INSERT INTO busy (v) SELECT 'x' FROM generate_series(1, 1 + (random() * 5)::int);
SAVEPOINT a;
UPDATE busy SET v = 'y' WHERE id = (random() * 1000)::int;
ROLLBACK TO a;
DELETE FROM busy WHERE id IN (SELECT id FROM busy ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);
COMMIT;
BENCH
SELECT architect.audit_seal();
BENCH
	'writers and sealers side by side');

sub write_script
{
	my ($name, $script) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";

	append_to_file($file, $script);
	return $file;
}

sql('SELECT architect.audit_seal()');
is(sql($problems), '', 'all holds after many seals');
is(sql('SELECT count(*) FROM architect.audit_log') . '|', sql('SELECT sum(rows) FROM architect.audit_seals') . '|',
	'each row is in one seal');
cmp_ok(sql('SELECT max(seal) FROM architect.audit_seals'), '>', 10, 'there were seals meanwhile');

# After a crash, what was sealed and committed is there, and what was not is sealed next.
sql("INSERT INTO item VALUES (10, 'before the crash')");
my $lost = $node->background_psql('postgres');
$lost->query_safe("BEGIN; SELECT architect.audit_seal()");
my $digest = sql('SELECT architect.audit_digest()');
$node->stop('immediate');
eval { $lost->quit };
$node->start;
is(sql('SELECT architect.audit_digest()'), $digest, 'a seal that was not committed is gone');
is(sql($problems), '', 'all holds after a crash');
sql('SELECT architect.audit_seal()');
is(sql($problems), '', 'all holds after the next seal');
$digest = sql('SELECT architect.audit_digest()');
sql("SELECT architect.audit_erase('item', '1', '{v}')");

# A restored copy has the seals, and its transactions other numbers.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
sql("INSERT INTO item VALUES (11, 'not sealed before the dump')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'dump');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init;
$copy->start;
$copy->command_ok([ 'pg_restore', '--exit-on-error', '-d', $copy->connstr('postgres'), $dump ], 'restore');
is($copy->safe_psql('postgres', "SELECT * FROM architect.audit_verify_seals('$digest')"), '', 'all holds in the copy');
$copy->safe_psql('postgres', "INSERT INTO item VALUES (12, 'of the copy'); UPDATE item SET v = 'copied' WHERE id = 3");
is($copy->safe_psql('postgres', "SELECT * FROM architect.audit_verify_seals('$digest')"), '',
	'what is logged in the copy is not taken for forged');
my $changed_by = $copy->safe_psql('postgres', 'SELECT changed_by FROM architect.audit_log WHERE id = 5');
is($copy->safe_psql('postgres', "UPDATE architect.audit_log SET changed_by = 'x' WHERE id = 5; $problems"),
	'1|5|changed', 'a change in the copy is found');
$copy->safe_psql('postgres', "UPDATE architect.audit_log SET changed_by = '$changed_by' WHERE id = 5");

my ($code, $out, $err) = $copy->psql('postgres', 'SELECT architect.audit_seal()');
like($err, qr/all of it is sealed anew/, 'the first seal of the copy says that it takes all');
is($copy->safe_psql('postgres', 'SELECT rows = (SELECT count(*) FROM architect.audit_log)
								 FROM architect.audit_seals ORDER BY seal DESC LIMIT 1'), 't', 'it has the whole log');
is($copy->safe_psql('postgres', "SELECT * FROM architect.audit_verify_seals('$digest')"), '', 'the chain goes on');
$copy->safe_psql('postgres', "INSERT INTO item VALUES (13, 'in the copy'); SELECT architect.audit_seal()");
$copy->safe_psql('postgres', "INSERT INTO item VALUES (14, 'not sealed in the copy')");
# Numbers of transactions in the copy come by those that rows had before.
$copy->safe_psql('postgres', "DO \$\$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END \$\$");
is($copy->safe_psql('postgres', 'SELECT architect.audit_seal(); SELECT rows FROM architect.audit_seals ORDER BY seal DESC LIMIT 1'),
	$copy->safe_psql('postgres', "SELECT max(seal) || E'\\n1' FROM architect.audit_seals"), 'no row is sealed twice');
is($copy->safe_psql('postgres', "SELECT * FROM architect.audit_verify_seals('$digest')"), '', 'all holds there');
is($copy->safe_psql('postgres', "BEGIN; INSERT INTO architect.audit_log SELECT (jsonb_populate_record(log, '{\"id\": 100000}')).*
		FROM architect.audit_log AS log WHERE log.id = 2; $problems") =~ /100000\|inserted/, 1, 'a forged row is found there');
is($copy->safe_psql('postgres', "BEGIN; DELETE FROM architect.audit_log WHERE id = 2; $problems") =~ tr/\n//, 1,
	'a row that is gone is missed by both seals that have it');
$copy->safe_psql('postgres', "SELECT architect.audit_erase('item', '3', '{v}')");
is($copy->safe_psql('postgres', $problems), '', 'what is erased is erased in both');
$copy->stop;

# So has a copy that CREATE DATABASE makes.
sql('CREATE DATABASE twin TEMPLATE postgres');
is(sql($problems, 'twin'), '', 'all holds in a twin');
sql("INSERT INTO item VALUES (20, 'twin'); SELECT architect.audit_seal()", 'twin');
is(sql($problems, 'twin'), '', 'and after its first seal');

# A standby can verify, and not seal.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
sql('SELECT architect.audit_seal()');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT * FROM architect.audit_verify_seals('$digest')"), '', 'all holds on a standby');
($code, $out, $err) = $standby->psql('postgres', 'SELECT architect.audit_seal()');
like($err, qr/recovery/, 'a standby makes no seal');
$standby->stop;

$node->stop;
done_testing();
