# Whatever the texts of queries are, reading them ends neither the server nor the query that
# asked.  Valid texts are changed by tokens; FUZZ_SEED and FUZZ_SECONDS ask for another run.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use constant BATCH => 200;

my $seed = $ENV{FUZZ_SEED} // int(time);
my $seconds = $ENV{FUZZ_SECONDS} // 10;
srand $seed;
note "FUZZ_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE t (id integer PRIMARY KEY, a integer, b text, c timestamptz, d varchar(9), f boolean, j jsonb, list integer[]);
CREATE TABLE u (id integer, a integer, t integer, z text);
CREATE TABLE part (id integer, a integer) PARTITION BY LIST (id);
CREATE TABLE part_1 (a integer, id integer);
ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES IN (1);
INSERT INTO t SELECT i, i % 1000, 'x' || i, timestamptz '2026-01-01' + i * interval '1 hour', i % 7, i % 9 = 0,
	jsonb_build_object('k', i % 99), ARRAY[i % 99, i % 7] FROM generate_series(1, 5000) AS i;
INSERT INTO u SELECT i, i % 1000, i % 5000, CASE WHEN i % 50 = 0 THEN 'z' END FROM generate_series(1, 5000) AS i;
INSERT INTO part SELECT 1, i FROM generate_series(1, 5000) AS i;
ANALYZE t, u, part;
SQL

my @texts = grep { /\S/ } split /\n/, <<'SQL';
SELECT * FROM t WHERE a = $1 AND b LIKE 'x%' AND c BETWEEN $2 AND now ( ) - interval $3 ORDER BY c DESC , a LIMIT $4
SELECT x . a FROM t AS x LEFT JOIN u ON x . id = u . t AND u . z IS NULL WHERE lower ( x . b ) = $1 OR x . a IN ( 1 , 2 )
SELECT a FROM t NATURAL JOIN u JOIN part USING ( id ) WHERE ( a , b ) > ( $1 , $2 ) OR a = ANY ( $3 :: int [ ] )
WITH RECURSIVE t AS ( SELECT 1 AS id UNION ALL SELECT id + 1 FROM t WHERE id < 5 ) SELECT id FROM t WHERE id = 3
UPDATE t SET a = u . a , ( b , d ) = ( $1 , $2 ) FROM u WHERE t . id = u . t AND j ->> 'k' = $3 RETURNING *
DELETE FROM part_1 USING u WHERE u . a = part_1 . a AND EXISTS ( SELECT FROM t WHERE t . id = u . id AND f )
INSERT INTO t ( id ) SELECT id FROM u WHERE z = $1 ON CONFLICT ( id ) DO UPDATE SET a = excluded . a
MERGE INTO t USING ( VALUES ( 1 , 2 ) ) AS v ( p , q ) ON t . id = v . p WHEN MATCHED AND t . a = 1 THEN UPDATE SET a = q
SELECT a , count ( * ) OVER ( PARTITION BY b ) FROM t GROUP BY GROUPING SETS ( ( a ) , ( ) ) HAVING a = 1 ORDER BY 1 NULLS LAST
SELECT 1 FROM t , LATERAL ( SELECT * FROM u WHERE u . t = t . id LIMIT 1 ) AS l , unnest ( t . list ) AS n ( e ) WHERE e = l . a
SELECT 1 FROM ( t JOIN u ON t . id = u . t ) AS k ( a , b ) WHERE NOT k . a = 1 AND b COLLATE "C" = $1 AND ( t ) . a = 2
SELECT EXTRACT ( $1 FROM c ) , date $2 FROM t WHERE c :: date = date $3 AND list @> ARRAY [ 1 ] AND j @> '{}' AND d :: text = $4
( SELECT a FROM t WHERE CASE WHEN f THEN a = 1 END ) INTERSECT SELECT a FROM public . u WHERE a IS NOT DISTINCT FROM 1
PREPARE p AS SELECT a FROM t WHERE a = ( SELECT max ( a ) FROM u ) FOR UPDATE
SQL
my @tokens = map { split / / } @texts;

# Drops, doubles, swaps and replaces tokens, and takes what stands in other texts.
sub mutate
{
	my @words = split / /, $texts[ rand @texts ];

	foreach (1 .. 1 + rand 2)
	{
		my $place = int rand @words;
		my $kind = int rand 6;

		if ($kind == 0) { splice @words, $place, 1 + rand 3 }
		elsif ($kind == 1) { splice @words, $place, 0, @words[ $place .. ($place + 2 < @words ? $place + 2 : $#words) ] }
		elsif ($kind == 2) { $words[$place] = $tokens[ rand @tokens ] }
		elsif ($kind == 3) { my $other = int rand @words; @words[ $place, $other ] = @words[ $other, $place ] }
		elsif ($kind == 4) { splice @words, $place, 0, ('(') x (1 + rand 3), $words[$place] // 'a', (')') x (1 + rand 3) }
		else { splice @words, $place, 0, split / /, $texts[ rand @texts ] }
		@words = ('SELECT') if !@words;
	}
	return join ' ', @words;
}

my $texts = 0;
my $read = 0;
my $planned = 0;
my $advised = 0;
my $failed;

# The same texts are planned, with indexes on what they read.
my $what_if = 'SELECT count(cost_after)';
my $answer = q{architect.index_what_if(text, ARRAY['CREATE INDEX ON t (a, lower(b)) WHERE f', 'CREATE INDEX ON t USING gin (j)',
	'CREATE INDEX ON u USING hash (t)', 'CREATE INDEX ON part (a)'], '{t_pkey}', plans => true)};

# Advice for all of them together: each is advised for or left out, within what may be used.
my $advice = q{SELECT count(*) FILTER (WHERE action = 'create') FROM (SELECT sum(size_bytes) OVER () AS bytes, advice.* FROM
	architect.index_advise('%dkB', ARRAY[%s], max_indexes => %d, time_limit => '%f s', drops => %s) AS advice) AS advice
	HAVING count(*) FILTER (WHERE action = 'create' AND (bytes > %1$d * 1024 OR rank NOT BETWEEN 1 AND %3$d)) = 0
	AND count(*) FILTER (WHERE action = 'skip' AND reason IS NULL OR query_number NOT BETWEEN 1 AND %6$d) = 0
	AND count(*) = count(DISTINCT coalesce(rank, -query_number))};
my $end = time + $seconds;

while (time < $end && !$failed)
{
	my @batch = map { mutate() } 1 .. BATCH;
	my $array = join ",\n", map { my $text = $_; "\$fuzz\$$text\$fuzz\$" } @batch;
	my ($status, $out, $err) = $node->psql('postgres', "SELECT count(DISTINCT query_id) FROM architect.index_workload(ARRAY[$array])");

	$failed = "$err\n" . join "\n", @batch if $status != 0;
	$texts += @batch;
	$read += $out || 0;

	($status, $out, $err) = $node->psql('postgres', "$what_if FROM unnest(ARRAY[$array]) AS text, $answer");
	$failed = "$err\n" . join "\n", @batch if $status != 0;
	$planned += $out || 0;

	my $wanted = sprintf $advice, rand 500, $array, 1 + rand 9, 0.01 + rand 2, rand 2 < 1 ? 'true' : 'false', scalar @batch;
	($status, $out, $err) = $node->psql('postgres', $wanted);
	$failed = "$err$out\n$wanted" if $status != 0 || $out eq '';
	$advised += $out || 0;
}
is($failed, undef, "no text does harm (seed $seed)");
cmp_ok($read, '>', 0, 'and some are understood');
cmp_ok($planned, '>', 0, 'and planned');
cmp_ok($advised, '>', 0, 'and advised for');
note "$texts texts, $read understood, $planned planned, $advised indexes advised";

is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE relation >= 16384'), '0', 'no lock stays');
$node->stop;
done_testing();
