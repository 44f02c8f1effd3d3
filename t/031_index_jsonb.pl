# What jsonb_advice says to do is done: it says nothing more, and after the undo the database is
# dumped as before.  On a standby it says the same.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off");
$node->start;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

# One that may be rewritten, one that is too large for it, and one in partitions.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA "Docs";
SET search_path = "Docs";
CREATE TABLE small (id integer, "Doc" jsonb);
INSERT INTO small
SELECT n, jsonb_build_object('name', 'name ' || n, 'n', n, 'status', n % 3, 'The "city"', jsonb_build_object('is', 'c' || n))
    || CASE WHEN n % 5 = 0 THEN jsonb_build_object('it''s\', n) ELSE '{}' END
FROM generate_series(1, 2000) AS n;
CREATE TABLE "Large one" (LIKE small) WITH (fillfactor = 10);
INSERT INTO "Large one" SELECT small.* FROM small, generate_series(1, 4);
CREATE TABLE parts (LIKE small) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_2 PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT * FROM small;
SQL

sub dump_schema
{
	my ($stdout) = run_command([ 'pg_dump', '-s', '-h', $node->host, '-p', $node->port, '-n', '"Docs"', 'postgres' ]);
	# A random word guards psql's restricted mode.
	$stdout =~ s/^\\(un)?restrict .*\n//mg;
	return $stdout;
}

sub advice
{
	my ($server, $column) = @_;
	return $server->safe_psql('postgres',
		"SELECT $column FROM architect.jsonb_advice WHERE advice IS NOT NULL ORDER BY relation::text, key");
}

# One line at a time; what fails, if one does.
sub run_lines
{
	my ($lines) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/statements.sql';
	append_to_file($file, "\\set ON_ERROR_STOP 1\nSET client_min_messages = warning;\n$lines\n");
	my ($stdout, $stderr) =
	  run_command([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ]);
	return $stderr;
}

my $dump = dump_schema();
my $before = advice($node, 'relation, key, advice, statement, undo, lock');
my $statements = advice($node, 'statement');
my $undo = $node->safe_psql('postgres',
	'SELECT undo FROM architect.jsonb_advice WHERE advice IS NOT NULL ORDER BY relation::text DESC, key DESC');

like($dump, qr/CREATE TABLE "Docs"\."Large one"/, 'the schema is dumped');
like($before, qr/\|$_\|/, "there is advice of this kind: $_") foreach qw(column index statistics);
$node->wait_for_catchup($standby);
is(advice($standby, 'relation, key, advice, statement, undo, lock'), $before, 'a standby says the same');

is(run_lines($statements), '', 'the statements run');
is(advice($node, 'relation, key, advice'), '', 'and nothing is left to be done');
isnt(dump_schema(), $dump, 'the schema is another');

is(run_lines($undo), '', 'the undo runs');
is(dump_schema(), $dump, 'the dump is as before');
is(advice($node, 'relation, key, advice, statement, undo, lock'), $before, 'and so is the advice');

done_testing();
