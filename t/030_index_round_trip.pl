# The statement of every finding is run: the finding is gone, and no new one appears.  After
# the undo the database is dumped as before.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
architect.index_unused_after = 0
shared_buffers = 256MB
fsync = off
CONF
$node->start;

# What a schema can have wrong, and names and marks that must come back with the undo.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE SCHEMA "odd Schema";
SET search_path = "odd Schema";

CREATE TABLE customers (id bigint PRIMARY KEY, "E mail" text NOT NULL, name text, gone text, UNIQUE ("E mail"));
ALTER TABLE customers DROP gone;
INSERT INTO customers SELECT n, 'mail' || n, 'name' FROM generate_series(1, 20000) AS n;
CREATE TABLE "Order Lines" (id bigint PRIMARY KEY, customer bigint REFERENCES customers ON DELETE CASCADE,
    "E mail" text REFERENCES customers ("E mail") ON UPDATE CASCADE, at timestamptz, note text, deleted_at timestamptz,
    total numeric);
INSERT INTO "Order Lines" SELECT n, n % 20000 + 1, 'mail' || n % 20000 + 1, now(), 'note', NULL, n
    FROM generate_series(1, 50000) AS n;

-- Duplicates and redundant ones, with marks.
CREATE UNIQUE INDEX "Lines total" ON "Order Lines" (total, id);
CREATE INDEX lines_total_twin ON "Order Lines" (total, id);
CREATE INDEX lines_total_prefix ON "Order Lines" (total);
CREATE INDEX lines_note ON "Order Lines" (lower(note)) WHERE note <> '';
CREATE INDEX lines_note_twin ON "Order Lines" (lower(note)) WHERE note <> '';
COMMENT ON INDEX lines_note_twin IS 'the other''s twin';
ALTER INDEX lines_note_twin ALTER COLUMN 1 SET STATISTICS 77;
CREATE INDEX lines_deleted ON "Order Lines" (deleted_at);

-- Left by a failed CREATE INDEX CONCURRENTLY.
CREATE TABLE readings (kind int, at timestamptz, tags text[], doc jsonb);
INSERT INTO readings SELECT 1, timestamptz '2026-01-01 00:00Z' + n * interval '1 second', '{a}', '{"a": 1}'
    FROM generate_series(1, 1000) AS n;
CREATE INDEX readings_tags ON readings (tags);

-- Partitioned, two levels, with an index of one partition alone.
CREATE TABLE events (id bigint, at int, customer bigint REFERENCES customers, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE "Events 2" PARTITION OF events FOR VALUES FROM (10) TO (100) PARTITION BY LIST (id);
CREATE TABLE "Events 2 rest" PARTITION OF "Events 2" DEFAULT;
INSERT INTO events SELECT n, n % 100, n % 20000 + 1 FROM generate_series(1, 40000) AS n;
CREATE INDEX events_at ON events (at);
CREATE INDEX "Events at again" ON events (at);
COMMENT ON INDEX "Events at again" IS 'twin of a whole tree';
CREATE INDEX events_1_customer ON events_1 (customer);
SQL
$node->psql('postgres', 'CREATE UNIQUE INDEX CONCURRENTLY readings_kind ON "odd Schema".readings (kind)');
$node->safe_psql('postgres', 'ANALYZE');

sub dump_schema
{
	my ($stdout, $stderr) =
	  run_command([ 'pg_dump', '-s', '-h', $node->host, '-p', $node->port, '-n', 'odd Schema', 'postgres' ]);
	# A random word guards psql's restricted mode.
	$stdout =~ s/^\\(un)?restrict .*\n//mg;
	return $stdout;
}

# All that is found, unfolded: rule by rule.
sub findings
{
	my $rows = $node->safe_psql('postgres', <<'SQL');
SELECT json_agg(json_build_array(found.rule, coalesce(found.relation::text, ''), coalesce(found.index::text, ''), found.columns::text,
                                 found.statement, found.undo)
                ORDER BY found.rule, found.relation::text, found.index::text, found.columns)
FROM architect.index_advice_status AS status, architect.index_find(ARRAY[status.rule]) AS found
SQL
	require JSON::PP;
	return @{ JSON::PP::decode_json($rows eq '' ? '[]' : $rows) };
}

sub name_of { my ($finding) = @_; return join(' ', @$finding[ 0 .. 3 ]) }

# One statement a line, each on its own, as psql would run them; what fails, if one does.
sub run_lines
{
	my ($lines) = @_;
	my $problem = '';
	my $file = PostgreSQL::Test::Utils::tempdir() . '/statements.sql';
	append_to_file($file, "\\set ON_ERROR_STOP 1\nSET client_min_messages = warning;\n$lines\n");
	my ($stdout, $stderr) =
	  run_command([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ]);
	return $stderr;
}

my $dump = dump_schema();
my @before = findings();
my %rules = map { $_->[0] => 1 } @before;

note(join("\n", map { name_of($_) } @before));
ok($rules{$_}, "the schema has something for $_") foreach qw(missing_foreign_key unused duplicate redundant invalid);

foreach my $finding (@before)
{
	my ($rule, $relation, $index, $columns, $statement, $undo) = @$finding;
	my $name = name_of($finding);

	next unless defined $statement;
	# Of two that do the same the older one is kept: what the last undo made is the younger.
	my %known = map { name_of($_) => 1 } findings();
	is(run_lines($statement), '', "$name: the statement runs");
	my %now = map { name_of($_) => 1 } findings();
	ok(!$now{$name}, "$name: is gone");
	is_deeply([ grep { !$known{$_} } keys %now ], [], "$name: nothing new is found");

	if (!defined $undo)
	{
		is(dump_schema(), $dump, "$name: nothing to undo");
		next;
	}
	# An index that is not valid cannot be made so, as its table is.
	my $problem = run_lines($undo);
	is($problem, '', "$name: the undo runs") unless $rule eq 'invalid';
	is(dump_schema(), $dump, "$name: the dump is as before");
}

done_testing();
