# What writes to an index is counted as the server counts it, and takes as much WAL as the
# server writes, within a quarter, when no page is written as a whole.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

plan skip_all => 'pg_walinspect is not installed'
  if !-e $node->config_data('--sharedir') . '/extension/pg_walinspect.control';

$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
full_page_writes = off
autovacuum = off
gin_pending_list_limit = '256kB'
CONF
$node->start;

sub run { return $node->safe_psql('postgres', $_[0]); }

run(<<'SQL');
CREATE EXTENSION pg_architect;
CREATE EXTENSION pg_walinspect;

-- Rows with the numbers from the first to the last.
CREATE FUNCTION rows(first integer, last integer)
    RETURNS TABLE (id integer, spread integer, word text, few integer, tags integer[], doc jsonb, note integer)
    LANGUAGE sql AS $$
    SELECT n, hashint4(n), md5(n::text), n % 100, ARRAY[n % 1000, 1000 + n % 7, 2000 + n % 300],
           jsonb_build_object('kind', n % 10, 'name', md5(n::text), 'city', n % 500), 0
    FROM generate_series(first, last) AS n
$$ ROWS 20000;
SQL

my $plain = 'CREATE TABLE t (id integer, spread integer, word text, few integer, tags integer[], doc jsonb, note integer) WITH (fillfactor = 50)';
my $parts = <<'SQL';
CREATE TABLE t (id integer, spread integer, word text, few integer, tags integer[], doc jsonb, note integer) PARTITION BY HASH (id);
CREATE TABLE t_0 (note integer, doc jsonb, tags integer[], few integer, word text, spread integer, id integer) WITH (fillfactor = 50);
ALTER TABLE t ATTACH PARTITION t_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1) WITH (fillfactor = 50);
SQL
my $insert = 'INSERT INTO t SELECT * FROM rows(20001, 40000)';

# Makes the table, with some updates that tell how many of them are heap-only.
sub make
{
	my ($table, @indexes) = @_;
	run(join ';', 'DROP TABLE IF EXISTS t', $table, 'INSERT INTO t SELECT * FROM rows(1, 20000)', 'VACUUM ANALYZE t',
		@indexes, 'UPDATE t SET note = 1 WHERE few < 10', 'VACUUM ANALYZE t');
	return;
}

# Returns the WAL of a statement, and how many entries it wrote to indexes.
sub measure
{
	my ($statement) = @_;
	my $from = run('SELECT pg_current_wal_insert_lsn()');

	run("$statement; SELECT gin_clean_pending_list(oid) FROM pg_class WHERE relkind = 'i' AND relam = (SELECT oid FROM pg_am WHERE amname = 'gin')
		AND relname LIKE 't%'");
	my ($bytes, $entries) = split /\|/, run(<<"SQL");
SELECT pg_current_wal_flush_lsn() - '$from'::pg_lsn,
    (SELECT coalesce(sum(count), 0) FROM pg_get_wal_stats('$from', pg_current_wal_flush_lsn(), true)
     WHERE "resource_manager/record_type" ~ '^(Btree/INSERT_LEAF|Btree/INSERT_POST|Btree/SPLIT_[LR]|Hash/INSERT)')
SQL
	return ($bytes, $entries);
}

# The server writes a record now and then without being asked.
sub is_wal
{
	my ($estimate, $real, $name) = @_;
	cmp_ok(abs($estimate - $real), '<=', 0.25 * $real + 1000, sprintf '%s: %.0f of %d bytes of WAL', $name, $estimate, $real);
	return;
}

# What statements do to a table without the index, by both.
my %without;

# One index and one statement: the estimate, and what the server did with the index and without.
sub compare
{
	my ($name, $table, $statement, $index, $existing, %expected) = @_;
	my @existing = @{ $existing // [] };
	my $key = join ';', $table, $statement, @existing;

	if (!$without{$key})
	{
		make($table, @existing);
		$without{$key} = [ measure($statement) ];
	}
	make($table, @existing);
	my ($entries, $bytes, $lost) = split /\|/, run("SELECT entries, wal_bytes, lost_hot FROM architect._index_write_cost(\$\$$index\$\$, \$\$$statement\$\$)");
	run($index);
	my ($bytes_with, $entries_with) = measure($statement);
	my $wal = $bytes_with - $without{$key}[0];
	my $written = $expected{entries} // $entries_with - $without{$key}[1] - ($expected{others} // 0);

	# A split of an inner page, one in some ten thousand, is counted as an entry.
	cmp_ok(abs($entries - $written), '<=', ($expected{sampled} // 0.0001) * $written, "$name: $entries of $written entries");
	is($lost, $expected{lost} // 0, "$name: updates that are not heap-only any more");
	is_wal($bytes, $wal, $name);
	return;
}

compare('btree, in order', $plain, $insert, 'CREATE INDEX ON t (id)');
compare('btree, elsewhere', $plain, $insert, 'CREATE INDEX ON t (spread)');
compare('btree, text', $plain, $insert, 'CREATE INDEX ON t (word)');
compare('btree, few values', $plain, $insert, 'CREATE INDEX ON t (few)');
compare('btree, two columns and one included', $plain, $insert, 'CREATE INDEX ON t (spread, few) INCLUDE (word)');
compare('btree, expression', $plain, $insert, 'CREATE INDEX ON t (lower(word))');
compare('btree, partial', $plain, $insert, 'CREATE INDEX ON t (spread) WHERE few < 10', [], sampled => 0.02);
compare('hash', $plain, $insert, 'CREATE INDEX ON t USING hash (spread)');
compare('GIN, array', $plain, $insert, 'CREATE INDEX ON t USING gin (tags)', [], entries => 60000);
compare('GIN, jsonb', $plain, $insert, 'CREATE INDEX ON t USING gin (doc)', [], entries => 120000);
compare('GIN, jsonb_path_ops', $plain, $insert, 'CREATE INDEX ON t USING gin (doc jsonb_path_ops)', [], entries => 60000);
compare('partitions', $parts, $insert, 'CREATE INDEX ON t (spread)');
compare('partitions, GIN', $parts, $insert, 'CREATE INDEX ON t USING gin (tags)', [], entries => 60000);

# Updates: heap-only ones, those that another index keeps from being so, and those that this one does.
my $update = 'UPDATE t SET note = 2 WHERE few < 100';
compare('heap-only', $plain, $update, 'CREATE INDEX ON t (spread)');
compare('heap-only, partitions', $parts, $update, 'CREATE INDEX ON t (spread)');
compare('not heap-only', $plain, $update, 'CREATE INDEX ON t (spread)', ['CREATE INDEX ON t (note)']);
compare('not heap-only any more', $plain, $update, 'CREATE INDEX ON t (note, spread)',
	[ 'CREATE INDEX ON t (id)', 'CREATE INDEX ON t USING hash (spread)' ], lost => 20000, others => 40000);
compare('not heap-only for a predicate', $plain, $update, 'CREATE INDEX ON t (spread) WHERE note < 3',
	[], lost => 20000);
compare('partitions, not heap-only any more', $parts, $update, 'CREATE INDEX ON t (note, spread)', [], lost => 20000);

# BRIN has an entry for each range of pages, when that is summarized.
my $brin = 'CREATE INDEX t_brin ON t USING brin (spread) WITH (pages_per_range = 4)';
make($plain);
my ($entries, $bytes) = split /\|/, run("SELECT entries, wal_bytes FROM architect._index_write_cost('$brin', '$insert')");
my ($without) = measure($insert);
make($plain, $brin);
my ($with) = measure("$insert; CREATE TABLE summarized AS SELECT brin_summarize_new_values('t_brin') AS ranges");
my $ranges = run('SELECT ranges FROM summarized');
cmp_ok(abs($entries - $ranges), '<=', 0.05 * $ranges, "BRIN: $entries of $ranges ranges");
is_wal($bytes, $with - $without, 'BRIN');

done_testing();
