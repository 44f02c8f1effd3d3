# Indexes that queries, as pg_stat_statements has them, would be better off with.  The
# statement of every finding is run: it is gone, no other appears, and after the undo the
# database is dumped as before.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements'
autovacuum = off
fsync = off
CONF
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE EXTENSION pg_stat_statements;
CREATE ROLE keeper;
CREATE SCHEMA "odd Schema" AUTHORIZATION keeper;
SET search_path = "odd Schema";

CREATE TABLE "Thing" (gone int, id int PRIMARY KEY, "Customer" int, region int, "Price" int, other int, amount int, parent int,
    orphan int, sorted int, sparse int, done bool NOT NULL, deleted_at timestamptz, total numeric, note int, body text, email text, at timestamptz,
    data jsonb, keyed jsonb, tags text[], labels text[], words tsvector, code varchar(20));
ALTER TABLE "Thing" DROP gone;
INSERT INTO "Thing"
    SELECT n, n % 1000, n % 1000, n, n, n, rare, rare, rare, rare, n % 50 <> 0, CASE WHEN n % 20 <> 0 THEN now() END, n, n, 'some text ' || n,
           'User' || n || '@x', now(), json, json, ARRAY['t' || n % 10], ARRAY['u'], to_tsvector('simple', 'w' || n), 'c' || n
    FROM generate_series(1, 200000) AS n, LATERAL (SELECT CASE WHEN n % 100 = 0 THEN n END AS rare, jsonb_build_object('k', n) AS json) AS l;
CREATE INDEX "by Customer" ON "Thing" ("Customer");
CREATE INDEX by_region ON "Thing" (region);
CREATE INDEX by_price ON "Thing" ("Price" DESC) WITH (fillfactor = 70);
COMMENT ON INDEX by_price IS 'it''s old';
CREATE INDEX by_other ON "Thing" (other);
CREATE INDEX by_amount ON "Thing" (amount);
CREATE INDEX by_parent ON "Thing" (parent);
CREATE INDEX by_orphan ON "Thing" (orphan);
CREATE INDEX by_sorted ON "Thing" (sorted);
CREATE INDEX by_sparse ON "Thing" (sparse);
CREATE INDEX by_code ON "Thing" (upper(code));
CREATE INDEX by_keyed ON "Thing" USING gin (keyed jsonb_path_ops);
ALTER TABLE "Thing" OWNER TO keeper;

CREATE TABLE events (id int, name text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (20000);
CREATE TABLE "Events 2" PARTITION OF events DEFAULT;
INSERT INTO events SELECT n, 'name of ' || n FROM generate_series(1, 40000) AS n;
CREATE TABLE small (email text, data jsonb);
INSERT INTO small SELECT 'a' FROM generate_series(1, 100);
CREATE TABLE addresses (address text, id int);
INSERT INTO addresses SELECT repeat(md5(n::text), 7), n FROM generate_series(1, 70000) AS n;
CREATE INDEX by_address ON addresses (address);
ALTER TABLE addresses OWNER TO keeper;
CREATE TABLE churned (id int, customer int, total int);
INSERT INTO churned SELECT n, n % 100, n FROM generate_series(1, 50000) AS n;
CREATE INDEX by_churned ON churned (customer);
SQL
$node->safe_psql('postgres', 'VACUUM ANALYZE; UPDATE "odd Schema".churned SET total = total + 1; ANALYZE "odd Schema".churned');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET search_path = "odd Schema", public; SELECT pg_stat_statements_reset()');

# Each line: what is to be found (or not), and the queries.
my @queries = map { [ split /\s*\|\s*/, $_, 2 ] } grep { /\S/ } split /\n/, <<'QUERIES';
partial|SELECT id FROM "Thing" WHERE "Price" = 5 AND deleted_at IS NULL
partial|SELECT t.id FROM "Thing" t WHERE t.deleted_at IS NULL AND t."Price" BETWEEN 5 AND 7
partial|SELECT id FROM "Thing" WHERE amount = 5 AND NOT done
partial|SELECT id FROM "Thing" WHERE parent = 500
not: once without|SELECT id FROM "Thing" WHERE other = 5 AND deleted_at IS NULL
not: once without|SELECT id FROM "Thing" WHERE other = 6
not: NULLs are looked for|SELECT count(*) FROM "Thing" WHERE orphan IS NULL
not: NULLs are wanted|SELECT id FROM "Thing" ORDER BY sorted DESC NULLS FIRST LIMIT 5
covering|SELECT sum(total) FROM "Thing" WHERE "Customer" < 500
covering|SELECT sum(total), sum(id) FROM "Thing" WHERE "Customer" BETWEEN 10 AND 600
partial, not covering|SELECT sum(id) FROM "Thing" WHERE sparse > 0
not: all columns|SELECT * FROM "Thing" WHERE "Customer" < 2
not: wide|SELECT body, email, words, data, keyed FROM "Thing" WHERE "Customer" < 2
not: updated|SELECT sum(note) FROM "Thing" WHERE region < 900
not: updated|UPDATE "Thing" SET note = note + 1 WHERE id = 5
not: pages not visible|SELECT sum(total) FROM churned WHERE customer < 90
not: pages not visible|SELECT sum(total) FROM churned WHERE customer < 91
gin|SELECT id FROM "Thing" WHERE data @> '{"k": 5}'
gin|SELECT id FROM "Thing" WHERE tags && '{t1}' AND id < 100
gin|SELECT id FROM "Thing" WHERE words @@ 'w5'
gin|SELECT id FROM "Thing" WHERE body ILIKE '%text 55%'
gin|SELECT id FROM "Thing" WHERE keyed ? 'k' AND id < 5
gin without|SELECT id FROM "Thing" WHERE 't1' = ANY (labels) AND id < 100
not: has an index|SELECT id FROM "Thing" WHERE keyed @> '{"k": 5}'
not: a parameter|SELECT id FROM "Thing" WHERE code LIKE 'c5%'
not: small|SELECT count(*) FROM small WHERE data @> '{}'
gin without|SELECT count(*) FROM "Thing" WHERE data->'tags' ? 'a'
expression|SELECT id FROM "Thing" WHERE lower(email) = 'user5@x'
expression|SELECT count(*) FROM events e WHERE lower(e.name) < 'name of 2'
expression|SELECT id FROM "Thing" WHERE "Price" - id > 5
expression without|SELECT id FROM "Thing" WHERE data->>'k' = '5'
not: has an index|SELECT id FROM "Thing" WHERE upper(code) = 'C5'
not: narrowed|SELECT id FROM "Thing" WHERE id = 5 AND upper(email) = 'X'
not: small|SELECT count(*) FROM small WHERE upper(email) = 'X'
hash|SELECT id FROM addresses WHERE address = 'a'
not: mutable|SELECT id FROM "Thing" WHERE at::date = '2000-01-01'
QUERIES
$node->safe_psql('postgres', join(";\n", map { $_->[1] } @queries));
# Scans are counted however a small machine plans.
$node->safe_psql('postgres', "SET enable_seqscan = off;\n" . join(";\n", map { $_->[1] } grep { $_->[0] =~ /covering|updated|visible/ } @queries));
$node->safe_psql('postgres', 'SET enable_seqscan = off; DO $$BEGIN FOR n IN 1..120 LOOP PERFORM sum(id) FROM "Thing" WHERE sparse > 0; END LOOP; END$$');
$node->safe_psql('postgres', 'VACUUM "odd Schema"."Thing"');

my $rules = '{partial_candidate,covering_candidate,gin_candidate,expression_candidate,hash_candidate}';

sub dump_schema
{
	my ($stdout, $stderr) = run_command([ 'pg_dump', '-s', '-h', $node->host, '-p', $node->port, '-n', 'odd Schema', 'postgres' ]);
	$stdout =~ s/^\\(un)?restrict .*\n//mg;
	return $stdout;
}

# Findings by what they are about.
sub findings
{
	my ($before) = @_;
	my $rows = $node->safe_psql('postgres', ($before // '') . <<"SQL");
SELECT coalesce(json_agg(json_build_array(rule, coalesce(index, relation)::text, array_to_string(columns, ','), statement, undo, confidence,
                                          reason, evidence)), '[]')
FROM unnest('$rules'::text[]) AS each, architect.index_find(ARRAY[each])
SQL
	$rows =~ s/.*\n(?=.)//s;
	return { map { ("$_->[0] $_->[1] $_->[2]" => $_) } @{ decode_json($rows) } };
}

sub run_lines
{
	my ($lines) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/statements.sql';
	append_to_file($file, "\\set ON_ERROR_STOP 1\nSET client_min_messages = warning;\n$lines\n");
	my ($stdout, $stderr) = run_command([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ]);
	return $stderr;
}

my $found = findings();
my %statement = map { $_ => (split /\n/, $found->{$_}[3] // '')[0] // '' } keys %$found;
my $thing = 'ON "odd Schema"."Thing" USING';
is_deeply(\%statement, {
	'partial_candidate by_price Price' => "CREATE INDEX CONCURRENTLY \"Thing_Price_idx\" $thing btree (\"Price\" DESC) WITH (fillfactor='70') WHERE (deleted_at IS NULL);",
	'partial_candidate by_amount amount' => "CREATE INDEX CONCURRENTLY \"Thing_amount_idx\" $thing btree (amount) WHERE (NOT done);",
	'partial_candidate by_parent parent' => "CREATE INDEX CONCURRENTLY \"Thing_parent_idx\" $thing btree (parent) WHERE (parent IS NOT NULL);",
	'partial_candidate by_sparse sparse' => "CREATE INDEX CONCURRENTLY \"Thing_sparse_idx\" $thing btree (sparse) WHERE (sparse IS NOT NULL);",
	'covering_candidate "by Customer" Customer,id,total' => "CREATE INDEX CONCURRENTLY \"Thing_Customer_id_total_idx\" $thing btree (\"Customer\") INCLUDE (id, total);",
	'gin_candidate "Thing" data' => "CREATE INDEX CONCURRENTLY \"Thing_data_idx\" $thing gin (data jsonb_path_ops);",
	'gin_candidate "Thing" keyed' => "CREATE INDEX CONCURRENTLY \"Thing_keyed_idx\" $thing gin (keyed);",
	'gin_candidate "Thing" tags' => "CREATE INDEX CONCURRENTLY \"Thing_tags_idx\" $thing gin (tags);",
	'gin_candidate "Thing" words' => "CREATE INDEX CONCURRENTLY \"Thing_words_idx\" $thing gin (words);",
	'gin_candidate "Thing" body' => '',
	'gin_candidate "Thing" labels' => '',
	'gin_candidate "Thing" ((data -> $1))' => '',
	'expression_candidate "Thing" lower(email)' => "CREATE INDEX CONCURRENTLY \"Thing_lower_idx\" $thing btree (lower(email));",
	'expression_candidate "Thing" (("Price" - id))' => "CREATE INDEX CONCURRENTLY \"Thing_expr_idx\" $thing btree (((\"Price\" - id)));",
	'expression_candidate events lower(name)' => 'CREATE INDEX events_lower_idx ON ONLY "odd Schema".events USING btree (lower(name));',
	'expression_candidate "Thing" ((data ->> $1))' => '',
	'hash_candidate by_address address' => 'CREATE INDEX CONCURRENTLY addresses_address_idx ON "odd Schema".addresses USING hash (address);',
}, 'what is found, and what is not');
is($node->safe_psql('postgres', "SELECT rule, reason FROM architect.index_advice_status WHERE rule = ANY ('$rules') AND reason IS NOT NULL"),
	"gin_candidate|the pattern of LIKE is a parameter (1)\nexpression_candidate|an expression is not immutable (1)", 'what is not decided');
is($node->safe_psql('postgres', 'SELECT count(*) FROM architect.index_find() WHERE benefit_writes > 1000000'), 0,
	'counters of minutes are not made into days');
is((grep { !defined $_->[7]{queries}[0]{text} } map { $found->{$_} } grep { !/^hash/ } keys %$found), 0, 'each has its queries');

# Its owner sees the same of the queries that are shown to him.
my $blind = findings('SET ROLE keeper;');
is_deeply([ map { "$_: $blind->{$_}[5]" } sort keys %$blind ], [ map { "partial_candidate by_$_ $_: hint" } qw(orphan parent sorted sparse) ],
	'without the right to see queries statistics give hints');
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO keeper; GRANT USAGE ON SCHEMA public TO keeper');
is_deeply([ sort keys %{ findings('SET ROLE keeper;') } ], [ sort grep { !/ events / } keys %$found ], 'the owner of a table');
is_deeply([ sort keys %{ findings('SET default_transaction_read_only = on;') } ], [ sort keys %$found ], 'read only');

# A trigram index can be used once there is the extension.
$node->safe_psql('postgres', 'CREATE EXTENSION pg_trgm SCHEMA public');
$found = findings();
is($found->{'gin_candidate "Thing" body'}[3], "CREATE INDEX CONCURRENTLY \"Thing_body_idx\" $thing gin (body public.gin_trgm_ops);", 'trigrams');

my $dump = dump_schema();
foreach my $name (sort grep { defined $found->{$_}[3] } keys %$found)
{
	is(run_lines($found->{$name}[3]), '', "$name: the statement runs");
	my $now = findings();
	ok(!$now->{$name}, "$name: is gone");
	is_deeply([ grep { !$found->{$_} } keys %$now ], [], "$name: nothing new is found");
	my ($replaced) = $name =~ /^(?:partial|covering|hash)_candidate ("[^"]+"|\S+)/;
	is($node->safe_psql('postgres', "SELECT to_regclass('$replaced')"), '', "$name: what it replaces is gone") if $replaced;
	is(run_lines($found->{$name}[4]), '', "$name: the undo runs");
	is(dump_schema(), $dump, "$name: the dump is as before");
}

done_testing();
