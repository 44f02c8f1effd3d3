# ALTER EXTENSION UPDATE gives what a fresh install gives and keeps what users have; a
# library that does not fit the installed SQL says so.
#
# From a copy of the tree come the scripts of two versions that do not exist, one before
# the tree's own and one after it.  What the older one lacks, the update has to bring.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename;
use File::Copy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = dirname(dirname(abs_path(__FILE__)));
my $copy = PostgreSQL::Test::Utils::tempdir() . '/tree';
my @installed;

END { unlink @installed; }

# The one place where a version is written.
my ($current) = slurp_file("$tree/pg_architect.control") =~ /^default_version = '(.*)'$/m;
(my $older = $current) =~ s/\d+/0/g;
(my $newer = $current) =~ s/(\d+)$/$1 + 1/e;

my $node = PostgreSQL::Test::Cluster->new('main');
my $extensions = $node->config_data('--sharedir') . '/extension';
if (!-w $extensions)
{
	plan skip_all => "the scripts of other versions cannot be put into $extensions";
}
$node->init;
$node->start;

# Changes one file of the copy.
sub edit
{
	my ($file, $edit) = @_;

	local $_ = slurp_file("$copy/$file");
	$edit->() or die "cannot make the edit of $file";
	unlink "$copy/$file";
	append_to_file("$copy/$file", $_);
}

# Makes a script from the copy as the tree would, and installs it.
sub install
{
	my ($script) = @_;
	my $pg_config = $node->config_data('--bindir') . '/pg_config';

	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};
	system_or_bail('make', '-s', '-C', $copy, "PG_CONFIG=$pg_config", $script);
	push @installed, "$extensions/$script";
	copy("$copy/$script", $extensions) or die "cannot install $script: $!";
}

mkdir $copy;
system_or_bail('cp', '-R', map({ "$tree/$_" } qw(Makefile META.json.in pg_architect.control sql)), $copy);
unlink glob("$copy/pg_architect--*.sql");

append_to_file("$copy/sql/upgrade/$older--$current.sql", "-- nothing by hand\n");
install("pg_architect--$older--$current.sql");

edit('pg_architect.control', sub { s/^(default_version = ).*$/$1'$newer'/m });
append_to_file("$copy/sql/upgrade/$current--$newer.sql", <<'SQL');
CREATE TABLE architect.audit_later (id int PRIMARY KEY);
COMMENT ON TABLE architect.audit_later IS 'a table that came with a delta';
SQL
install("pg_architect--$current--$newer.sql");
edit('sql/install/audit.tables.sql', sub { $_ .= slurp_file("$copy/sql/upgrade/$current--$newer.sql") });
install("pg_architect--$newer.sql");

# The older version has no audit_status, another version() and an older table.
edit('pg_architect.control', sub { s/^(default_version = ).*$/$1'$older'/m });
edit('sql/install/audit.tables.sql', sub { s/^CREATE TABLE architect\.audit_later.*//ms });
edit('sql/install/audit_status.sql', sub { s/^CREATE OR REPLACE VIEW architect\.audit_status.*//ms });
edit('sql/install/core.sql', sub { s/version of the loaded library/an old comment/ });
edit('sql/install/core.sql', sub { s/STABLE STRICT PARALLEL SAFE/VOLATILE/ });
install("pg_architect--$older.sql");

# One line for each property of each member of the extension.
my $describe = <<'SQL';
WITH member AS (
    SELECT depend.classid, depend.objid, identity.type, identity.identity
    FROM pg_depend AS depend
    JOIN pg_extension AS extension ON extension.oid = depend.refobjid
    CROSS JOIN pg_identify_object(depend.classid, depend.objid, depend.objsubid) AS identity
    WHERE depend.refclassid = 'pg_extension'::regclass
      AND depend.deptype = 'e'
      AND extension.extname = 'pg_architect'
), described AS (
    SELECT identity, 'is a ' || type FROM member
    UNION ALL
    SELECT identity, 'comment: ' || obj_description(objid, classid::regclass::name) FROM member
    UNION ALL
    SELECT member.identity, concat_ws(' ', 'initial rights of column', init.objsubid, init.privtype, init.initprivs)
    FROM pg_init_privs AS init
    JOIN member ON member.classid = init.classoid AND member.objid = init.objoid
    UNION ALL
    SELECT identity, concat_ws(' ', 'rights:', nspacl) FROM member JOIN pg_namespace ON pg_namespace.oid = objid
    WHERE classid = 'pg_namespace'::regclass
    UNION ALL
    SELECT identity, concat_ws(E'\n', pg_get_functiondef(objid), proacl, proowner::regrole, proleakproof, probin)
    FROM member JOIN pg_proc ON pg_proc.oid = objid
    WHERE classid = 'pg_proc'::regclass
    UNION ALL
    SELECT identity, concat_ws(' ', 'relation:', relkind, relacl, relowner::regrole, reloptions, relrowsecurity, relpersistence,
                               relreplident, CASE WHEN relkind = 'v' THEN pg_get_viewdef(objid) END)
    FROM member JOIN pg_class ON pg_class.oid = objid
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, concat_ws(' ', 'column:', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                               attgenerated, attcollation::regcollation, attacl, attstorage, attisdropped,
                               pg_get_expr(adbin, adrelid), col_description(objid, attnum))
    FROM member
    JOIN pg_attribute ON attrelid = objid AND attnum > 0
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, 'constraint: ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
    FROM member JOIN pg_constraint ON conrelid = objid
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, 'index: ' || pg_get_indexdef(indexrelid)
    FROM member JOIN pg_index ON indrelid = objid
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, 'trigger: ' || pg_get_triggerdef(pg_trigger.oid)
    FROM member JOIN pg_trigger ON tgrelid = objid AND NOT tgisinternal
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, concat_ws(' ', 'policy:', polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid))
    FROM member JOIN pg_policy ON polrelid = objid
    WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT identity, concat_ws(' ', evtevent, evttags, evtfoid::regprocedure, evtenabled, evtowner::regrole)
    FROM member JOIN pg_event_trigger ON pg_event_trigger.oid = objid
    WHERE classid = 'pg_event_trigger'::regclass
    UNION ALL
    SELECT dumped.relation::regclass::text, concat_ws(' ', 'dumped where:', dumped.condition)
    FROM pg_extension
    CROSS JOIN unnest(extconfig, extcondition) AS dumped (relation, condition)
    WHERE extname = 'pg_architect'
    UNION ALL
    SELECT 'extension', concat_ws(' ', extname, extversion, extnamespace::regnamespace, extrelocatable, extowner::regrole)
    FROM pg_extension
    WHERE extname = 'pg_architect'
) SELECT identity || ': ' || property FROM described AS described (identity, property)
  ORDER BY identity COLLATE "C", property COLLATE "C"
SQL

# Runs a script as one session and returns its answers, then its errors.
sub session
{
	my ($database, $sql) = @_;
	my ($out, $err);

	$node->psql($database, $sql, stdout => \$out, stderr => \$err, on_error_stop => 0);
	return ($out, $err);
}

sub fresh
{
	my ($database, $version) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION pg_architect VERSION '$version'");
	return $node->safe_psql($database, $describe);
}

my $mismatch = qr/WARNING:  extension "pg_architect" is version \S+, but its library is version \Q$current\E\n/;

sub count_of
{
	my ($pattern, $text) = @_;
	my @found = $text =~ /$pattern/g;
	return scalar @found;
}

# The tree's own version is what CREATE EXTENSION installs, and the library's.
my $current_objects = fresh('plain', $current);
my ($out, $err) = session('plain', "SELECT extversion, architect.version() FROM pg_extension WHERE extname = 'pg_architect'");
is($out, "$current|$current", 'library and SQL have the version of the control file');
is($err, '', 'a library that fits the SQL says nothing');
is( $node->safe_psql('postgres', "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_architect'"),
	$current, 'the server knows that version');

# Under the older SQL the library works, and says once a session that it is another.
my $older_objects = fresh('upgraded', $older);
isnt($older_objects, $current_objects, 'the older version has other objects');
($out, $err) = session('upgraded', 'SELECT 1');
is($err, '', 'a session that uses nothing of ours hears nothing');

($out, $err) = session('upgraded', <<'SQL');
CREATE TABLE accounts (id int PRIMARY KEY, secret text, balance numeric);
CREATE TABLE readings (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM (0) TO (10);
SELECT architect.audit_enable('accounts', mask => '{secret}', truncate => 'refuse');
SELECT architect.audit_enable('readings', capture => 'full', replica => true);
INSERT INTO accounts VALUES (1, 'pssst', 10.00), (2, 'pssst', 20.50);
SELECT architect.version();
BEGIN;
SELECT architect.audit_set_actor('alice', '{"request": "r-1"}');
UPDATE accounts SET balance = balance + 1;
ROLLBACK;
INSERT INTO readings VALUES (1, 1);
SQL
is(count_of($mismatch, $err), 1, 'a library that does not fit the SQL says so once a session');
like($err, qr/$mismatch.*HINT:  Run ALTER EXTENSION pg_architect UPDATE TO '\Q$current\E'\./s,
	'it says what to run');
unlike($err, qr/ERROR/, 'it works all the same');
($out, $err) = session('upgraded', "INSERT INTO accounts VALUES (3, 'pssst', 0)");
is(count_of($mismatch, $err), 1, 'a session that only writes hears of it too');

# The update, as the hint says, brings the objects of a fresh install and keeps all data.
my $data = <<'SQL';
SELECT log FROM architect.audit_log AS log ORDER BY id;
SELECT registered FROM architect.audit_tables AS registered ORDER BY table_id;
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgname LIKE 'architect%' ORDER BY tgrelid, tgname;
SELECT class.oid::regclass, pg_get_expr(relpartbound, class.oid), relacl, relrowsecurity
FROM pg_class AS class
WHERE relname LIKE 'audit_log%'
ORDER BY relname;
SQL
my $before = $node->safe_psql('upgraded', $data);
($out, $err) = session('upgraded', <<"SQL");
CREATE SCHEMA evil;
CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT NULL';
CREATE FUNCTION evil.coalesce(text, text) RETURNS text LANGUAGE sql AS 'SELECT NULL';
CREATE TABLE evil.pg_trigger ();
CREATE TABLE evil.pg_class ();
SET search_path = evil, pg_catalog;
ALTER EXTENSION pg_architect UPDATE TO '$current';
RESET search_path;
SELECT architect.version();
INSERT INTO accounts VALUES (4, 'pssst', 0);
DELETE FROM accounts WHERE id = 4;
DROP SCHEMA evil CASCADE;
SQL
unlike($err, qr/ERROR|WARNING/, 'the update runs, whatever the search_path is, and then library and SQL fit');
is($node->safe_psql('upgraded', $describe), $current_objects, 'the update gives the objects of a fresh install');
($out, $err) = session('upgraded', 'DELETE FROM readings; SELECT architect.version()');
is($err, '', 'a new session hears nothing any more');
is($node->safe_psql('upgraded', 'SELECT count(*) FROM architect.audit_status WHERE problem IS NULL'),
	'2', 'what the older version lacked is there and works');
is( $node->safe_psql('upgraded', <<'SQL'), "INSERT|\nDELETE|***\nDELETE|", 'audit goes on with the data it had');
SELECT operation, old_values ->> 'secret'
FROM architect.audit_log
WHERE id > (SELECT max(id) FROM architect.audit_log WHERE record_id = '3')
ORDER BY id
SQL
$node->safe_psql('upgraded', "DELETE FROM architect.audit_log WHERE id > (SELECT max(id) FROM architect.audit_log WHERE record_id = '3')");
is($node->safe_psql('upgraded', $data), $before, 'the update keeps the log, the register and the triggers');

# An object that somebody made in the way of the update is not replaced, and the update
# leaves nothing half done.
fresh('squatted', $older);
$node->safe_psql('squatted', 'CREATE VIEW architect.audit_status AS '
	  . $node->safe_psql('plain', "SELECT pg_get_viewdef('architect.audit_status'::regclass)"));
($out, $err) = session('squatted', 'ALTER EXTENSION pg_architect UPDATE');
like($err, qr/ERROR:  view architect.audit_status is not a member of extension "pg_architect"/,
	'the update replaces nothing that is not its own');
is($node->safe_psql('squatted', $describe), $older_objects, 'an update that fails changes nothing');

# An update in steps gives the same as well, and the older library then works with the
# newer SQL.  It says that it is the older one, and not to go back.
my $newer_objects = fresh('newest', $newer);
fresh('in_steps', $older);
($out, $err) = session('in_steps', <<"SQL");
CREATE TABLE accounts (id int PRIMARY KEY);
SELECT architect.audit_enable('accounts');
INSERT INTO accounts VALUES (1);
ALTER EXTENSION pg_architect UPDATE TO '$newer';
SQL
is($node->safe_psql('in_steps', $describe), $newer_objects, 'an update in steps gives the objects of a fresh install');
($out, $err) = session('in_steps', 'INSERT INTO accounts VALUES (2); SELECT count(*) FROM architect.audit_log');
is($out, '2', 'a library works with newer SQL');
is(count_of($mismatch, $err), 1, 'a library older than the SQL says so');
like($err, qr/HINT:  Reconnect, so that the new library is loaded; restart the server if it is preloaded\./,
	'it does not ask to go back to its own version');

# Another extension may audit its tables.  The log is everybody's: it does not become a
# part of that extension, and does not go with it.
push @installed, "$extensions/architect_client.control", "$extensions/architect_client--1.sql";
append_to_file("$extensions/architect_client.control", "default_version = '1'\nrequires = 'pg_architect'\n");
append_to_file("$extensions/architect_client--1.sql", <<'SQL');
CREATE TABLE client_table (id int PRIMARY KEY);
SELECT architect.audit_enable('client_table');
SELECT architect.audit_maintain();
SQL
fresh('shared', $current);
is( $node->safe_psql('shared', <<'SQL'), "client_table\n2", 'the log belongs to no extension');
CREATE EXTENSION architect_client;
CREATE TABLE accounts (id int PRIMARY KEY);
SELECT FROM architect.audit_enable('accounts');
INSERT INTO accounts VALUES (1);
INSERT INTO client_table VALUES (1);
SELECT objid::regclass
FROM pg_depend
JOIN pg_extension AS extension ON extension.oid = refobjid
WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'architect_client';
DROP EXTENSION architect_client;
SELECT count(*) FROM architect.audit_log;
SQL
is($node->safe_psql('shared', 'SELECT relation FROM architect.audit_tables'),
	'accounts', 'a table that goes with its extension leaves the register');

# The scripts do nothing when they are run by hand.
foreach my $script ("pg_architect--$current.sql", "pg_architect--$older--$current.sql")
{
	my $what = $script =~ /--.*--/ ? 'ALTER EXTENSION pg_architect UPDATE' : 'CREATE EXTENSION pg_architect';
	my ($stdout, $stderr) = run_command(
		[ 'psql', '-X', '-d', $node->connstr('postgres'), '-f', "$extensions/$script" ]);
	is($stdout, "Use \"$what\" to load this file.", "$script says how it is to be run");
	is($stderr, '', "$script runs nothing in psql");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_namespace WHERE nspname = 'architect'"),
	'0', 'scripts run by hand leave nothing');

$node->stop;
done_testing();
