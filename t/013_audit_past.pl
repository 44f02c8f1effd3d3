# The past of a table in a restored copy, on a standby, across prepared transactions
# and after a crash.

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

sub sql { my ($query, $db, $where) = @_; return ($where // $node)->safe_psql($db // 'postgres', $query); }

# The time now, after which nothing that was committed before counts as later.
sub now { return sql('SELECT clock_timestamp()', @_); }

# The table item as it was: rows of id=name.
sub past
{
	my ($moment, $db, $where) = @_;
	my ($code, $out, $err) = ($where // $node)->psql($db // 'postgres',
		"SELECT string_agg(concat_ws('=', id, label), ' ' ORDER BY id) FROM architect.audit_as_of(NULL::item, $moment)");
	return $code == 0 ? $out : $err;
}

# What a query fails with: message, detail and hint.
sub error
{
	my ($query, $db, $where) = @_;
	my ($code, $out, $err) = ($where // $node)->psql($db // 'postgres', $query);
	return $err;
}

# The problems that audit_verify finds.
sub problems
{
	my ($db, $where) = @_;
	my ($code, $out, $err) =
	  ($where // $node)->psql($db // 'postgres', "SELECT record_id, problem FROM architect.audit_verify('item') ORDER BY record_id");
	return $out . $err;
}

sql(<<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE item (gone int, id int PRIMARY KEY, more text, name text, price numeric(10, 2));
ALTER TABLE item DROP gone;
SELECT architect.audit_enable('item');
INSERT INTO item VALUES (1, 'm', 'one', 1), (2, 'm', 'two', 2), (3, 'm', 'three', 3);
SELECT architect.audit_mark('first');
SQL
my $first = now();
sql(<<'SQL');
UPDATE item SET name = 'uno', price = 10 WHERE id = 1;
UPDATE item SET id = 20 WHERE id = 2;
DELETE FROM item WHERE id = 3;
ALTER TABLE item RENAME name TO label;
ALTER TABLE item DROP more;
SQL
my $second = now();
sql("UPDATE item SET label = 'dos' WHERE id = 20");

my $as_first = '1=one 2=two 3=three';
my $as_second = '1=uno 20=two';
is(past("mark => 'first'"), $as_first, 'as of the mark');
is(past("at => '$first'"), $as_first, 'as of the first time');
is(past("at => '$second'"), $as_second, 'as of the second time');

# In a restored copy, where columns have other numbers and transactions too.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'dump');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init;
$copy->start;
for my $target ([ $node, 'beside' ], [ $copy, 'elsewhere' ])
{
	my ($where, $db) = @$target;

	sql("CREATE DATABASE $db", 'postgres', $where);
	$where->command_ok([ 'pg_restore', '--exit-on-error', '-d', $where->connstr($db), $dump ], "$db: restore");
	is(past("at => '$first'", $db, $where), $as_first, "$db: as of the first time");
	is(past("at => '$second'", $db, $where), $as_second, "$db: as of the second time");
	like(error("SELECT * FROM architect.audit_as_of(NULL::item, mark => 'first')", $db, $where),
		qr/ERROR:  mark "first" was set in another database.*HINT:  Pass the time of the mark instead/s,
		"$db: the mark is refused");
	is(past("(SELECT marked_at FROM architect.audit_marks WHERE name = 'first')", $db, $where), $as_first,
		"$db: as of the time of the mark");
	is(problems($db, $where), '', "$db: the table is what its log comes to");
	is(sql("SELECT record_id, operation FROM architect.audit_changes('item', '$first') ORDER BY record_id", $db, $where),
		"1|UPDATE\n2|UPDATE\n3|DELETE", "$db: changes since the first time");

	# The copy goes on by itself.
	my $third = now($db, $where);
	sql(<<'SQL', $db, $where);
SELECT architect.audit_mark('in the copy');
UPDATE item SET label = 'copied', price = 11 WHERE id = 1;
ALTER TABLE item ADD name text DEFAULT 'another name';
ALTER TABLE item ALTER price TYPE text;
INSERT INTO item VALUES (4, 'four', 'x', 'y');
SQL
	is(past("at => '$first'", $db, $where), $as_first, "$db: as of the first time, after changes");
	is(past("at => '$second'", $db, $where), $as_second, "$db: as of the second time, after changes");
	is(past("at => '$third'", $db, $where), '1=uno 20=dos', "$db: as of the time before changes");
	is(past("mark => 'in the copy'", $db, $where), '1=uno 20=dos', "$db: as of a mark of the copy");
	is(past("at => 'infinity'", $db, $where), '1=copied 4=four 20=dos', "$db: as it is now");
	is(problems($db, $where), '', "$db: verified after changes");
	sql("SET session_replication_role = replica; UPDATE item SET label = 'x' WHERE id = 20", $db, $where);
	is(problems($db, $where), '20|different', "$db: a bypass is found there");
	sql("SET session_replication_role = replica; UPDATE item SET label = 'dos' WHERE id = 20", $db, $where);
	like(error("SELECT architect.audit_mark('first')", $db, $where), qr/mark "first" exists already/, "$db: marks keep their names");
	sql("SELECT architect.audit_unmark('first'); SELECT architect.audit_mark('first')", $db, $where);
	is(past("mark => 'first'", $db, $where), '1=copied 4=four 20=dos', "$db: the mark can be set anew");
}
$copy->stop;
# Numbers are the same in a copy that CREATE DATABASE makes, but go on apart.
sql('CREATE DATABASE twin TEMPLATE postgres');
like(error("SELECT * FROM architect.audit_as_of(NULL::item, mark => 'first')", 'twin'), qr/was set in another database/,
	'twin: the mark is refused');
is(past("at => '$first'", 'twin'), $as_first, 'twin: as of the first time');
is(problems('twin'), '', 'twin: verified');

# A prepared transaction: exact for a mark; for a time its changes count from when they were made.
sql("BEGIN; UPDATE item SET label = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'one'");
sql("BEGIN; UPDATE item SET label = 'lost' WHERE id = 20; PREPARE TRANSACTION 'two'");
sql("SELECT architect.audit_mark('prepared')");
my $prepared = now();
is(past("mark => 'prepared'"), '1=uno 20=dos', 'what is prepared is not there');
is(problems(), '', 'verified beside prepared transactions');
sql("COMMIT PREPARED 'one'");
sql("ROLLBACK PREPARED 'two'");
is(past("mark => 'prepared'"), '1=uno 20=dos', 'what is committed since is not, by mark');
is(past("at => '$prepared'"), '1=prepared 20=dos', 'by time it is');
is(past("mark => 'first'"), $as_first, 'as of the first mark');
is(problems(), '', 'verified after prepared transactions');

# A standby shows the past as the primary does, marks too, but sets none.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
my $slow = $node->background_psql('postgres');
$slow->query_safe("BEGIN; INSERT INTO item VALUES (50, 'slow')");
sql("SELECT architect.audit_mark('streamed')");
my $streamed = now();
$slow->query_safe('COMMIT');
$slow->quit;
sql('DELETE FROM item WHERE id = 20');
$node->wait_for_catchup($standby);
for my $moment ("mark => 'first'", "at => '$second'", "mark => 'prepared'", "mark => 'streamed'", "at => '$streamed'", "at => 'infinity'")
{
	is(past($moment, 'postgres', $standby), past($moment), "standby: as of $moment");
}
is(past("mark => 'streamed'", 'postgres', $standby), '1=prepared 20=dos', 'standby: what was in progress is not there');
is(problems('postgres', $standby), '', 'standby: verified');
for my $query (
	"SELECT version, operation, record, complete FROM architect.audit_history('item', '20')",
	"SELECT * FROM architect.audit_changes('item', '$first') ORDER BY record_id",
	"SELECT relation, capture, problem FROM architect.audit_status",
	"SELECT name, snapshot FROM architect.audit_marks ORDER BY name")
{
	is(sql($query, 'postgres', $standby), sql($query), "standby: $query");
}
for my $call ("audit_mark('here')", "audit_unmark('first')", "audit_baseline('item')")
{
	like(error("SELECT architect.$call", 'postgres', $standby), qr/ERROR:.*(read-only|recovery)/, "standby: $call is refused");
}

# After a crash: what was not committed never was.
my $lost = $node->background_psql('postgres');
$lost->query_safe("BEGIN; DELETE FROM item WHERE id = 50; INSERT INTO item VALUES (51, 'crashed')");
sql("BEGIN; UPDATE item SET label = 'still prepared' WHERE id = 1; PREPARE TRANSACTION 'three'");
sql("SELECT architect.audit_mark('crash')");
my $crash = now();
$node->stop('immediate');
eval { $lost->quit };
$node->start;
sql("COMMIT PREPARED 'three'");
is(past("mark => 'crash'"), '1=prepared 50=slow', 'after a crash: as of the mark before it');
is(past("at => '$crash'"), '1=still prepared 50=slow', 'after a crash: as of the time before it');
is(past("at => 'infinity'"), '1=still prepared 50=slow', 'after a crash: as it is now');
is(past("mark => 'first'"), $as_first, 'after a crash: as of the first mark');
is(problems(), '', 'after a crash: verified');
sql("SELECT architect.audit_baseline('item')");
is(problems(), '', 'after a crash: a baseline');

# Virtual columns are computed for the past.
SKIP:
{
	skip 'virtual columns came with PostgreSQL 18', 2 if $node->pg_version < 18;
	sql(<<'SQL');
CREATE TABLE virtual (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL);
SELECT architect.audit_enable('virtual');
INSERT INTO virtual (id, n) VALUES (1, 10), (2, 20), (3, 30);
SELECT architect.audit_mark('virtual');
UPDATE virtual SET n = 11 WHERE id = 1;
DELETE FROM virtual WHERE id = 2;
SQL
	is(sql("SELECT id, n, twice FROM architect.audit_as_of(NULL::virtual, mark => 'virtual') ORDER BY id"),
		"1|10|20\n2|20|40\n3|30|60", 'virtual columns as of a mark');
	is(sql("SELECT * FROM architect.audit_verify('virtual')"), '', 'virtual columns are verified');
}

$standby->stop;
$node->stop;
done_testing();
