# Whatever the documents are, and however their table came about: what jsonb_sample reads of all blocks is
# what SQL counts.  FUZZ_SEED and FUZZ_TABLES ask for another run.

use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::RealBin;

use Fuzz::Value qw(below one_of chance some_of);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{FUZZ_SEED} // time % 1000000;
my $tables = $ENV{FUZZ_TABLES} // 11;
note("FUZZ_SEED=$seed");
srand $seed;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\njit = off");
$node->start;

# What SQL says of a column: sums over the documents, by the expression that asks for a key.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE FUNCTION truth(source text, target_column name)
    RETURNS TABLE (expression text, n bigint, types jsonb, "values" bigint, value_bytes bigint, key_bytes bigint)
    LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH docs AS MATERIALIZED (
            SELECT doc, bytes, bytes <= 65536 AS whole, CASE WHEN jsonb_typeof(doc) = 'object' THEN doc END AS object
            FROM (SELECT %1$I AS doc, pg_column_size(%1$I::text::jsonb) - 4 AS bytes FROM %2$s) AS read WHERE doc IS NOT NULL
        ), top AS (
            SELECT key, value, whole, '' AS parent, false AS is_inner FROM docs, jsonb_each(object)
        ), every AS (
            TABLE top
            UNION ALL
            SELECT inside.key, inside.value, true, top.key, true
            FROM top, jsonb_each(CASE WHEN whole AND jsonb_typeof(value) = 'object' THEN value END) AS inside
        ), told AS (
            SELECT CASE WHEN is_inner THEN format('((%1$I -> %%L) ->> %%L)', parent, key) ELSE format('(%1$I ->> %%L)', key) END AS path,
                   key, whole, value::text AS value, jsonb_typeof(value) IN ('string', 'number', 'boolean') AS is_single,
                   CASE WHEN NOT whole AND jsonb_typeof(value) IN ('object', 'array') THEN 'container' ELSE jsonb_typeof(value) END AS kind,
                   pg_column_size(value #> '{}') - CASE WHEN jsonb_typeof(value) IN ('object', 'array') THEN 0 ELSE 8 END AS bytes
            FROM every
        ), kinds AS (
            SELECT path, jsonb_object_agg(kind, times) AS types FROM (SELECT path, kind, count(*) AS times FROM told GROUP BY 1, 2) AS each
            GROUP BY path
        ), document_kinds AS (
            SELECT jsonb_object_agg(kind, times) AS types
            FROM (SELECT jsonb_typeof(doc) AS kind, count(*) AS times FROM docs GROUP BY 1) AS each
        )
        SELECT path, count(*), kinds.types,
               CASE WHEN count(*) FILTER (WHERE NOT whole) * 2 <= count(*)
                    THEN nullif(least(count(DISTINCT value) FILTER (WHERE whole AND is_single), 257), 257) END,
               sum(bytes)::bigint, sum(4 + octet_length(key))::bigint
        FROM told JOIN kinds USING (path) GROUP BY path, kinds.types
        UNION ALL
        SELECT quote_ident(%1$L), count(*), (TABLE document_kinds), NULL, sum(bytes - names)::bigint, sum(names)::bigint
        FROM (SELECT bytes, CASE WHEN whole
                  THEN (SELECT coalesce(sum(4 + octet_length(key)), 0) FROM jsonb_path_query(doc, 'strict $.**') AS part,
                               jsonb_object_keys(CASE WHEN jsonb_typeof(part) = 'object' THEN part END) AS key)
                  ELSE (SELECT coalesce(sum(4 + octet_length(key)), 0) FROM jsonb_object_keys(object) AS key) END AS names
              FROM docs) AS measured
        $q$, target_column, source);
END $$;
-- Where the two differ.  Of more than 100 keys those of the most documents are said.
CREATE FUNCTION differ(target regclass, target_column name, source text) RETURNS SETOF text LANGUAGE sql AS $$
    WITH said AS MATERIALIZED (SELECT * FROM architect.jsonb_sample(target, target_column, 100)),
         truth AS MATERIALIZED (SELECT * FROM truth(source, target_column)),
         both_of AS (
             SELECT expression, truth.n, round(presence * documents) AS said_n, truth.types,
                    (SELECT jsonb_object_agg(key, round(value::float8 * n)) FROM jsonb_each_text(said.types)) AS said_types,
                    truth."values", distinct_values, truth.value_bytes, round(said.value_bytes * n) AS said_value_bytes,
                    truth.key_bytes, round(said.key_bytes * n) AS said_key_bytes, presence_error
             FROM said FULL JOIN truth USING (expression))
    SELECT both_of::text FROM both_of
    WHERE expression <> quote_ident(target_column) AND n IS DISTINCT FROM said_n
          AND NOT (said_n IS NULL AND (SELECT count(*) FROM said) = 101)
       OR said_n IS NOT NULL
          AND (said_types IS DISTINCT FROM types OR "values" IS DISTINCT FROM distinct_values
               OR value_bytes <> said_value_bytes OR key_bytes <> said_key_bytes OR presence_error <> 0)
$$;
SQL

my @names = (
	'', ' ', 'a', 'b', 'id', 'a.b', 'Ä', '日本', '😀', "it's", '"', '\\', '%s', '$.x', "tab\t", "two\nlines", 'x' x 63, 'y' x 300, 'null', '0');
my @numbers = (
	0, -1, 7, '1.0', '1.50', '-0', 32767, 65536, 2147483648, '9223372036854775808', '1e-300', '1e400', '-' . '9' x 200, '0.' . '0' x 90 . '1');

sub json_string
{
	my ($text) = @_;

	$text =~ s/(["\\])/\\$1/g;
	$text =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
	return "\"$text\"";
}

# Text of so many characters, that compresses well or not.
sub long_text
{
	my ($length) = @_;

	return json_string(chance(0.5) ? 'x' x $length : join '', map { chr(32 + below(95)) } 1 .. $length);
}

sub value
{
	my ($depth, @keys) = @_;

	return one_of('null', 'true', 'false') if chance(0.2);
	return one_of(@numbers, below(1000), rand()) if chance(0.35);
	return long_text(one_of(0, 1, 5, 126, 127, 130, below(3000))) if $depth == 0 || chance(0.5);
	return '[' . join(',', map { value($depth - 1, @keys) } 1 .. below(5)) . ']' if chance(0.4);
	return object($depth - 1, some_of(4, @keys));
}

# A key may come twice: the later one counts.
sub object
{
	my ($depth, @keys) = @_;

	return '{' . join(',', map { json_string($_) . ':' . value($depth, @keys) } some_of(below(@keys + 1), @keys, one_of(@names))) . '}';
}

sub document
{
	my (@keys) = @_;

	return value(0) if chance(0.05);
	return '[' . join(',', map { value(2, @keys) } 1 .. below(4)) . ']' if chance(0.05);
	return '[' x 1000 . ']' x 1000 if chance(0.01);
	return '{"a":' x 1000 . value(1, @keys) . '}' x 1000 if chance(0.01);
	return '{' . join(',', map { "\"key $_\":" . value(0) } 1 .. one_of(100, 1500)) . '}' if chance(0.005);
	return '{"long":' . long_text(one_of(65000 + below(1000), 200000)) . ',"of":{"a":1},"list":[1],"n":' . one_of(@numbers) . '}'
	  if chance(0.01);
	return object(3, @keys);
}

sub quoted
{
	my ($text) = @_;

	return 'NULL' if !defined $text;
	$text =~ s/'/''/g;
	return "'$text'";
}

# How the table comes about: statements around those that fill it; what SQL reads.
my %shapes = (
	plain => [ 'CREATE TABLE %s (id int, "Doc" jsonb)' ],
	quoted => [ 'CREATE TABLE "%s T""" (id int, "Doc" jsonb)', '"%s T"""' ],
	dropped => [ 'CREATE TABLE %s (gone text, id int, gone_too jsonb, "Doc" jsonb); ALTER TABLE %s DROP gone, DROP gone_too' ],
	missing => [ q(CREATE TABLE %s (id int); INSERT INTO %s SELECT generate_series(1, 50);
		ALTER TABLE %s ADD "Doc" jsonb DEFAULT '{"a": 1, "b": {"of": "default"}}') ],
	absent => [ 'CREATE TABLE %s (id int); INSERT INTO %s SELECT generate_series(1, 50); ALTER TABLE %s ADD "Doc" jsonb' ],
	domain => [ 'CREATE DOMAIN %s_domain AS jsonb; CREATE TABLE %s (id int, "Doc" %s_domain)' ],
	secured => [ 'CREATE TABLE %s (id int, "Doc" jsonb); ALTER TABLE %s ENABLE ROW LEVEL SECURITY' ],
	generated => [ q(CREATE TABLE %s_of (id int, source jsonb,
		"Doc" jsonb GENERATED ALWAYS AS (CASE WHEN jsonb_typeof(source) = 'object' THEN source || '{"a": "more"}' END) STORED);
		CREATE VIEW %s AS SELECT id, source AS "Doc" FROM %s_of), '%s_of' ],
	inherited => [ q(CREATE TABLE %s (id int, "Doc" jsonb); CREATE TABLE %s_heir () INHERITS (%s);
		INSERT INTO %s_heir VALUES (1, '{"heir": 1}')), '%s', 'ONLY %s' ],
	copied => [ 'CREATE TABLE %s (id int, "Doc" jsonb); CREATE MATERIALIZED VIEW %s_view AS SELECT * FROM %s', '%s_view' ],
	parted => [ 'CREATE TABLE %s (id int, "Doc" jsonb) PARTITION BY RANGE (id);
		CREATE TABLE %s_1 PARTITION OF %s FOR VALUES FROM (0) TO (30);
		CREATE TABLE %s_2 (gone int, "Doc" jsonb, id int); ALTER TABLE %s_2 DROP gone;
		ALTER TABLE %s ATTACH PARTITION %s_2 FOR VALUES FROM (30) TO (60);
		CREATE TABLE %s_3 PARTITION OF %s DEFAULT PARTITION BY HASH (id);
		CREATE TABLE %s_4 PARTITION OF %s_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE %s_5 PARTITION OF %s_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1)' ]);
my @shapes = sort keys %shapes;

foreach my $number (1 .. $tables)
{
	my $shape = $shapes[ $number % @shapes ];
	my ($create, $target, $source) = map { (my $text = $_) =~ s/%s/t$number/g; $text } map { $_ // '%s' } @{ $shapes{$shape} }[ 0 .. 2 ];
	$target = one_of('t' . $number) if !defined $shapes{$shape}[1];
	$source = $target if !defined $shapes{$shape}[2];
	my @keys = some_of(3 + below(10), @names, map { "key $_" } 1 .. 5);
	my @rows = map { "($_, " . quoted(chance(0.1) ? undef : document(@keys)) . ')' } 1 .. 60 + below(120);
	my $into = $shape eq 'quoted' ? $target : "t$number";
	my $storage = $shape =~ /generated|parted/ ? '' : "ALTER TABLE $into ALTER \"Doc\" SET STORAGE " . one_of(qw(EXTERNAL EXTENDED MAIN));

	$node->safe_psql('postgres', "SET standard_conforming_strings = on; SET client_min_messages = warning; $create; $storage;
		INSERT INTO $into (id, \"Doc\") VALUES " . join(",\n", @rows));
	$node->safe_psql('postgres', "DELETE FROM $into WHERE id % 5 = 0; UPDATE $into SET \"Doc\" = \"Doc\" WHERE id % 7 = 0")
	  if $shape ne 'generated' && chance(0.5);
	$node->safe_psql('postgres', "REFRESH MATERIALIZED VIEW $target") if $shape eq 'copied';
	is($node->safe_psql('postgres', "SELECT * FROM differ('$target', 'Doc', '$source')"), '', "table $number, $shape: both count the same");
	is($node->safe_psql('postgres', "SELECT count(*) FROM architect.jsonb_sample('$target', percent => 30) WHERE presence > 1 OR presence < 0"),
		'0', "table $number, $shape: a part of it can be read");
}

# Keys that are data: what is said of those that are listed is right to what is said of the error.
$node->safe_psql('postgres', q(CREATE TABLE map AS SELECT n AS id, (SELECT jsonb_object_agg('k' || (n * 7 + i * i) % (1 + i * 900), i)
	FROM generate_series(1, 20) AS i) || jsonb_build_object('of', jsonb_build_object(n, n)) AS doc FROM generate_series(1, 5000) AS n));
is( $node->safe_psql('postgres', q(SELECT said.* FROM architect.jsonb_sample('map', 'doc', 100) AS said JOIN truth('map', 'doc') USING (expression)
	WHERE key IS NOT NULL AND n NOT BETWEEN round(presence * documents) AND round((presence + presence_error) * documents))),
	'', 'keys of a map are in as many documents as is said, or a few more');

# However many others there are, a key of all documents is not lost among them.
$node->safe_psql('postgres', q(CREATE TABLE many AS
	SELECT jsonb_build_object('id', n, 'a' || n, 1, 'b' || n, 1, 'c' || n, 1, 'd' || n, 1) AS doc FROM generate_series(1, 60000) AS n));
is($node->safe_psql('postgres', q(SELECT key, presence FROM architect.jsonb_sample('many', percent => 100) WHERE key IS NOT NULL)), 'id|1',
	'the key of all documents is found');

# Documents out of line are those that the table's TOAST table has.
$node->safe_psql('postgres', q(CREATE TABLE out_of_line (doc jsonb); ALTER TABLE out_of_line ALTER doc SET STORAGE EXTERNAL;
	INSERT INTO out_of_line SELECT jsonb_build_object('text', repeat('x', n * 50)) FROM generate_series(1, 100) AS n));
my $toast = $node->safe_psql('postgres', q(SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'out_of_line'));
is( $node->safe_psql('postgres', q(SELECT round(toasted * documents) FROM architect.jsonb_sample('out_of_line', percent => 100) WHERE key IS NULL)),
	$node->safe_psql('postgres', "SELECT count(DISTINCT chunk_id) FROM $toast"), 'documents out of line are counted');

# Who waits no longer is heard in the midst of a sample.
$node->safe_psql('postgres', q(CREATE TABLE long AS SELECT jsonb_build_object('n', n, 'text', repeat('x', 500)) AS doc
	FROM generate_series(1, 200000) AS n));
my ($result, $stdout, $stderr) = $node->psql('postgres', "SET statement_timeout = '20ms'; SELECT FROM architect.jsonb_sample('long', percent => 100)");
like($stderr, qr/canceling statement due to statement timeout/, 'a sample is canceled');

$node->stop;
done_testing();
