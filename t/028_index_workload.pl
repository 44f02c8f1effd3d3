# With pg_stat_statements, the advice names the index that queries ask for and the one that
# is in the way of updates.  Its statements make the findings go away, and are undone.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

plan skip_all => 'pg_stat_statements is not installed'
  if !-e $node->config_data('--sharedir') . '/extension/pg_stat_statements.control';

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements'
autovacuum = off
CONF
$node->start;

sub run { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', $_[1] // 'postgres' ]); }

# What the counters of a session say is seen by others when it has ended.
sub findings
{
	my ($rule, $user) = @_;
	return run("SELECT relation, index, columns, severity, confidence FROM architect.index_$rule ORDER BY relation::text, index::text, columns", $user);
}

sub all_findings { return run('SELECT rule, relation, index, columns FROM architect.index_advice ORDER BY rule, relation::text, index::text, columns'); }

sub schema
{
	my ($out, $err) = run_command([ 'pg_dump', '-s', '-n', 'shop', '-d', $node->connstr('postgres') ]);
	$out =~ s/^\\(un)?restrict.*$//mg;
	return $out;
}

run(<<'SQL');
CREATE EXTENSION pg_architect;
CREATE EXTENSION pg_stat_statements;
CREATE ROLE owner LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE SCHEMA shop AUTHORIZATION owner;
SET ROLE owner;
SET search_path = shop;
CREATE TABLE customers (id integer PRIMARY KEY, email text);
INSERT INTO customers SELECT n, 'e' || n FROM generate_series(1, 1000) AS n;
CREATE TABLE orders (id integer PRIMARY KEY, "Customer" integer, status text, email text, created_at timestamptz, note text);
INSERT INTO orders SELECT n, n % 5000, CASE WHEN n % 2 = 0 THEN 'open' ELSE 'done' END, 'e' || n,
    timestamptz '2026-01-01' + n * interval '1 minute', repeat('x', 200) FROM generate_series(1, 50000) AS n;
CREATE INDEX orders_email ON orders (email);
CREATE TABLE part (id integer, region integer, note text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (20000);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (20000) TO (50000);
INSERT INTO part SELECT n, n % 3000, repeat('x', 200) FROM generate_series(1, 40000) AS n;
CREATE TABLE hits (id integer PRIMARY KEY, page text, hits integer, seen integer, pad text);
INSERT INTO hits SELECT n, 'p' || n, 0, 0, repeat('x', 100) FROM generate_series(1, 1000) AS n;
CREATE INDEX hits_hits ON hits (page, hits);
CREATE INDEX hits_page ON hits (page);
CREATE TABLE crowded (id integer PRIMARY KEY, page text, hits integer, pad text) WITH (fillfactor = 100);
INSERT INTO crowded SELECT n, 'p' || n, 0, repeat('x', 100) FROM generate_series(1, 3000) AS n;
SQL
run('VACUUM ANALYZE');

is(findings('missing'), '', 'nothing is missing before anybody asks');
is(findings('hot_blocking'), '', 'nothing blocks before anybody updates');

# Each is asked often enough to count.
my @queries = (
	q{SELECT count(note) FROM shop.orders WHERE "Customer" = %s},
	q{SELECT id FROM shop.orders WHERE "Customer" = %s AND created_at > now() - interval '30 years'},
	q{SELECT count(note) FROM shop.orders WHERE status = 'open' AND id > -%s},
	q{SELECT count(*) FROM shop.orders WHERE email = 'e%s' AND status = 'open'},
	q{SELECT count(note) FROM shop.part WHERE region = %s},
	q{SELECT count(*) FROM shop.customers WHERE email = 'e%s'});
foreach my $query (@queries)
{
	run(join ';', map { sprintf $query, $_ } 1 .. 12);
}
run(<<'SQL', 'owner');
UPDATE shop.hits SET hits = hits + 1;
UPDATE shop.hits SET hits = hits + 1;
UPDATE shop.hits SET seen = 1 WHERE id < 100;
UPDATE shop.crowded SET hits = hits + 1;
SQL

# A column that says little, one that has an index and a small table are no findings.
is(findings('missing'), <<'ROWS' =~ s/\n$//r, 'queries ask for these');
shop.orders||{Customer}|warning|likely
shop.part||{region}|warning|likely
ROWS
is(findings('hot_blocking'), <<'ROWS' =~ s/\n$//r, 'these are in the way');
shop.crowded||{}|hint|likely
shop.hits|shop.hits_hits|{hits}|warning|likely
ROWS

# What else is said of an index keeps its statement.
is(run(<<'SQL'), 'hot_blocking|unused|DROP INDEX CONCURRENTLY shop.hits_hits;', 'advice about one index is one row');
SET architect.index_unused_after = 0;
SELECT rule, evidence #>> '{also,0,rule}', evidence #>> '{also,0,statement}'
FROM architect.index_advice
WHERE index = 'shop.hits_hits'::regclass
SQL

# A monitor sees all texts, but not the statistics of columns that it may not read.
is(findings('hot_blocking', 'monitor'), findings('hot_blocking'), 'a monitor sees the same');
is(findings('missing', 'monitor'), '', 'what depends on statistics is not guessed');
like(run("SELECT reason FROM architect.index_advice_status WHERE rule = 'missing'", 'monitor'),
	qr/no statistics/, 'and that is said');

# An owner sees the texts of its own queries only.
is(findings('missing', 'owner'), '', 'the owner does not see what others ask');
like(run("SELECT reason FROM architect.index_advice_status WHERE rule = 'missing'", 'owner'),
	qr/could not be read/, 'and is told so');
is(findings('hot_blocking', 'owner'), findings('hot_blocking'), 'but sees its own updates');

# The evidence names queries.
is(run(<<'SQL'), 't', 'the evidence names queries');
SELECT bool_and((SELECT count(*) FROM pg_stat_statements WHERE queryid::text = evidence -> 'queries' -> 0 ->> 'query_id') > 0)
FROM architect.index_missing
SQL

# Each statement makes its finding go away and brings no other; the undo restores all.
my $before = all_findings();
my $schema = schema();
foreach my $rule ('missing', 'hot_blocking')
{
	my $where = "rule = '$rule' AND statement IS NOT NULL";
	my $relations = run("SELECT relation FROM architect.index_find('{$rule}') WHERE $where ORDER BY 1");

	foreach my $relation (split /\n/, $relations)
	{
		my $row = "FROM architect.index_find('{$rule}') WHERE $where AND relation = '$relation'::regclass";
		my $statement = run("SELECT statement $row");
		my $undo = run("SELECT undo $row");

		# One line, one statement: CONCURRENTLY must be alone.
		run($_) foreach split /\n/, $statement;
		is(run("SELECT count(*) $row"), '0', "$rule of $relation is gone");
		my %known = map { $_ => 1 } split /\n/, $before;
		is(join("\n", grep { !$known{$_} } split /\n/, all_findings()), '', 'and nothing is new');
		run($_) foreach split /\n/, $undo;
		is(schema(), $schema, 'the undo restores the schema');
		is(all_findings(), $before, 'and the findings');
	}
}

# An index whose columns come first in the new one is replaced by it.
run('CREATE INDEX orders_status ON shop.orders (status)');
run('SELECT pg_stat_statements_reset()');
run('SET enable_indexscan = off; SET enable_bitmapscan = off; '
	  . join ';', map { "SELECT id FROM shop.orders WHERE status = 'none' ORDER BY created_at LIMIT $_" } 1 .. 12);
like(run('SELECT statement FROM architect.index_missing'),
	qr/\(status, created_at\);\nDROP INDEX CONCURRENTLY shop\.orders_status;$/, 'it is dropped with the same advice');

# Two that are in the way of the same update are named, and share what is to be gained.
run('CREATE INDEX hits_both ON shop.hits (seen, hits); UPDATE shop.hits SET hits = hits + 1');
is(run(<<'SQL'), "hits_both|t|t\nhits_hits|t|t", 'two indexes are in the way together');
SELECT substr(index::text, 6) AS name, reason ~ CASE WHEN index::text ~ 'both' THEN 'together with hits_hits;' ELSE 'together with hits_both;' END,
       abs(2 * benefit_writes - ((evidence -> 'updates')::numeric - (evidence -> 'hot_updates')::numeric) * (evidence -> 'indexes')::numeric) < 2
FROM architect.index_hot_blocking
WHERE relation = 'shop.hits'::regclass
ORDER BY name
SQL
run('DROP INDEX shop.hits_both');

# An update whose text sets the key is known to change what refers to it.
run(<<'SQL');
CREATE TABLE shop.kinds (id integer PRIMARY KEY, note text);
INSERT INTO shop.kinds SELECT n, 'note' FROM generate_series(1, 100) AS n;
CREATE TABLE shop.things (kind integer REFERENCES shop.kinds, note text);
INSERT INTO shop.things SELECT n % 50 + 1, repeat('x', 200) FROM generate_series(1, 20000) AS n;
VACUUM ANALYZE shop.kinds, shop.things;
UPDATE shop.kinds SET id = id + 1000 WHERE id > 60;
SQL
is(run("SELECT severity, confidence, reason ~ '; updates set the key there.\$', evidence -> 'referenced_key_updates' FROM architect.index_missing_foreign_key"),
	'warning|proven|t|40', 'the key was changed');
run('DROP TABLE shop.things, shop.kinds');

# In a transaction that is read only.
is(run('BEGIN READ ONLY; SELECT count(*) FROM architect.index_missing; COMMIT'), '1', 'read only');

# Without the extension, or where it cannot be read, only the table is named.
run('DROP EXTENSION pg_stat_statements');
is(run("SELECT relation, columns, statement FROM architect.index_missing WHERE relation = 'shop.orders'::regclass"),
	'shop.orders|{}|', 'without texts there is no statement');
like(run("SELECT reason FROM architect.index_advice_status WHERE rule = 'missing'"), qr/is not installed/, 'and why');

# Which index is in the way is not known then, but that pages are full is, from 16 on.
is(run("SELECT coalesce(evidence ->> 'candidates', statement) FROM architect.index_hot_blocking WHERE relation = 'shop.hits'::regclass"),
	$node->pg_version < 16 ? 'hits_hits, hits_page' : 'ALTER TABLE shop.hits SET (fillfactor = 90);', 'what can be said of updates');

$node->stop;
done_testing();
