# Random tables with random indexes: all the advice of the rules that look at keys is followed at
# once.  Nothing new is found then, each index is served by one that is left, what was unique is,
# foreign keys have their index, and the undo makes the schema what it was.  The names of the
# tests have the seed; INDEX_SEED and INDEX_ROUNDS ask for another run.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{INDEX_SEED} || time();
my $rounds = $ENV{INDEX_ROUNDS} || 2;
my $tables = 25;
my $numbers = 0;
my @columns = qw(a b c d);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_architect');

# What an index must be replaced by: one of its table that finds as much and forbids as much.
$node->safe_psql('postgres', <<'SQL');
CREATE VIEW public.index_now AS
    SELECT indrelid AS relation, indexrelid::regclass::text AS name, amname, indisunique AS is_unique,
           indimmediate AS is_immediate, indnullsnotdistinct AS forbids_nulls, keys.keys, keys.reversed, keys.names,
           (indkey::int[])[indnkeyatts:indnatts - 1] AS included,
           coalesce(pg_get_expr(indpred, indrelid), '') AS predicate
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    JOIN pg_am ON pg_am.oid = relam
    CROSS JOIN LATERAL (
        SELECT array_agg(format('%s %s', column_name, indoption[place - 1]) ORDER BY place) AS keys,
               array_agg(format('%s %s', column_name, indoption[place - 1]::int # 3) ORDER BY place) AS reversed,
               array_agg(column_name ORDER BY place) AS names
        FROM generate_series(1, indnkeyatts) AS place
        CROSS JOIN LATERAL pg_get_indexdef(indexrelid, place, false) AS column_name) AS keys
    WHERE relnamespace::regnamespace::text = 'round' AND indisvalid;
CREATE VIEW public.unserved_key AS
    SELECT conrelid::regclass AS relation, conname
    FROM pg_constraint
    JOIN pg_class ON pg_class.oid = conrelid
    WHERE contype = 'f' AND relkind = 'r' AND connamespace::regnamespace::text = 'round'
      AND NOT EXISTS (
          SELECT FROM pg_index
          JOIN pg_class ON pg_class.oid = indexrelid
          WHERE indrelid = conrelid AND indisvalid AND relam IN (403, 405)
            AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
            AND (indpred IS NULL OR pg_get_expr(indpred, indrelid) ~ 'IS NOT NULL')
          UNION ALL
          SELECT FROM pg_index
          WHERE indrelid = conrelid AND indisvalid AND indisunique AND indpred IS NULL
            AND conkey @> (indkey::int2[])[0:indnkeyatts - 1]);
CREATE FUNCTION public.is_served(one index_now, other index_now) RETURNS boolean LANGUAGE sql AS $$
    SELECT one.relation = other.relation AND one.predicate = other.predicate
       AND CASE WHEN one.amname = other.amname AND one.amname = 'btree'
                THEN one.keys[1:cardinality(other.keys)] IN (other.keys, other.reversed)
                WHEN one.amname = other.amname THEN one.keys = other.keys
                ELSE other.amname = 'hash' AND one.amname = 'btree' AND one.names[1] = other.names[1] END
       AND (one.amname = 'hash' OR one.names || ARRAY(SELECT attname::text FROM pg_attribute
                WHERE attrelid = one.relation AND attnum = ANY (one.included))
            @> ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = one.relation AND attnum = ANY (other.included)));
$$;
CREATE FUNCTION public.is_enforced(one index_now, other index_now) RETURNS boolean LANGUAGE sql AS $$
    SELECT NOT other.is_unique
        OR one.relation = other.relation AND one.is_unique AND one.predicate IN ('', other.predicate)
       AND other.names @> one.names AND one.is_immediate >= other.is_immediate
       AND one.forbids_nulls >= other.forbids_nulls;
$$;
SQL

sub one_of { return $_[ rand @_ ] }
sub maybe { my ($chance, $text) = @_; return rand() < $chance ? $text : '' }

sub some_columns
{
	my ($most, @from) = @_;
	my @some;
	push @some, splice(@from, rand @from, 1) foreach 1 .. 1 + int(rand($most));
	return @some;
}

sub key
{
	my ($column) = @_;
	return '(a + b)' if rand() < 0.04;
	return $column . maybe(0.1, ' DESC') . maybe(0.05, ' NULLS FIRST');
}

# An index of a table; a unique one of a partitioned table has the column that it is divided by.
sub random_index
{
	my ($table, $divided_by) = @_;
	my $number = ++$numbers;
	my $name = one_of('i', 'I x') . " $number";
	return qq(CREATE INDEX "$name" ON $table USING hash (@{[ one_of(@columns) ]});) if rand() < 0.1;
	my @keys = some_columns(3, @columns);
	my @rest = grep { my $column = $_; !grep { $_ eq $column } @keys } @columns;
	my $is_unique = rand() < 0.15 && (!$divided_by || grep { $_ eq $divided_by } @keys);
	my $include = @rest && rand() < 0.2 ? ' INCLUDE (' . join(', ', some_columns(2, @rest)) . ')' : '';
	if ($is_unique && rand() < 0.4)
	{
		my $when = maybe(0.2, ' DEFERRABLE');
		return qq(ALTER TABLE $table ADD CONSTRAINT "$name" UNIQUE (@{[ join(', ', @keys) ]})$include$when;);
	}
	my $keys = join(', ', map { $is_unique ? $_ : key($_) } @keys);
	my $where = rand() < 0.12 ? ' WHERE ' . one_of('a > 0', "$keys[0] IS NOT NULL") : '';
	$where = '' if $is_unique && $divided_by;
	my $nulls = $is_unique ? maybe(0.2, ' NULLS NOT DISTINCT') : '';
	my $options = maybe(0.05, ' WITH (fillfactor = 70)');
	my $unique = $is_unique ? 'UNIQUE ' : '';
	my $only = maybe($divided_by && $table !~ /_\d$/ && !$is_unique ? 0.15 : 0, 'ONLY ');
	my $text = qq(CREATE ${unique}INDEX "$name" ON $only$table ($keys)$include$nulls$options$where;);
	$text .= qq(\nALTER TABLE $table CLUSTER ON "$name";) if !$divided_by && $where eq '' && rand() < 0.1;
	$text .= qq(\nCOMMENT ON INDEX "$name" IS 'index $number';) if rand() < 0.1;
	$text .= qq(\nUPDATE pg_index SET indisvalid = false WHERE indexrelid = 'round."$name"'::regclass;)
	  if !$divided_by && $text !~ /CLUSTER/ && rand() < 0.05;
	return $text;
}

sub random_table
{
	my ($table) = @_;
	my $is_divided = rand() < 0.3;
	my $primary_key = maybe(0.5, ', PRIMARY KEY (' . join(', ', $is_divided ? qw(a b) : some_columns(2, @columns)) . ')');
	my @lines = ("CREATE TABLE $table (" . join(', ', map { "$_ int" . maybe(0.3, ' NOT NULL') } @columns) . "$primary_key)"
		  . ($is_divided ? ' PARTITION BY RANGE (a);' : ';'));
	if ($is_divided)
	{
		push @lines, "CREATE TABLE ${table}_1 PARTITION OF $table FOR VALUES FROM (0) TO (10);",
		  "CREATE TABLE ${table}_2 PARTITION OF $table FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (a);",
		  "CREATE TABLE ${table}_2_3 PARTITION OF ${table}_2 FOR VALUES FROM (10) TO (20);";
	}
	foreach (1 .. int(rand(3)))
	{
		my @keys = some_columns(2, @columns);
		push @lines, "ALTER TABLE $table ADD FOREIGN KEY (" . join(', ', @keys) . ') REFERENCES target'
		  . (@keys == 1 ? ' (a);' : ';');
	}
	push @lines, random_index($is_divided && rand() < 0.4 ? $table . one_of('_1', '_2', '_2_3') : $table,
		$is_divided ? 'a' : undef)
	  foreach 1 .. 2 + int(rand(5));
	return @lines;
}

sub dump_schema
{
	my ($stdout) = run_command([ 'pg_dump', '-s', '-h', $node->host, '-p', $node->port, '-n', 'round', 'postgres' ]);
	$stdout =~ s/^\\(un)?restrict .*\n//mg;
	return $stdout;
}

# The lines that only one of two dumps has.
sub difference
{
	my %count;
	$count{$_}++ foreach split /\n/, $_[0];
	$count{$_}-- foreach split /\n/, $_[1];
	return join("\n", map { ($count{$_} > 0 ? '- ' : '+ ') . $_ } grep { $count{$_} } sort keys %count);
}

sub rows
{
	my ($query) = @_;
	require JSON::PP;
	my $json = $node->safe_psql('postgres', "SET search_path = round, public; SELECT json_agg(to_json(q)) FROM ($query) AS q");
	return @{ JSON::PP::decode_json($json eq '' ? '[]' : $json) };
}

my $find = "SELECT rule, relation::text, index::text, columns::text, reason, statement, undo,
	evidence->>'makes_redundant' AS makes_redundant, (SELECT relname FROM pg_class WHERE oid = index) AS index_name FROM
	architect.index_find('{missing_foreign_key,duplicate,redundant,invalid}') WITH ORDINALITY ORDER BY ordinality";

sub name_of { my ($found) = @_; return join(' ', map { $found->{$_} // '' } qw(rule relation index columns)) }

sub run_lines
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/lines.sql';
	unlink $file;
	append_to_file($file, join("\n", "\\set ON_ERROR_STOP 1", 'SET client_min_messages = warning;', @_) . "\n");
	my ($stdout, $stderr) =
	  run_command([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ]);
	return $stderr;
}

# The first had an index below two partitioned tables that could be attached.
foreach my $chosen (1795473071, map { $seed + $_ - 1 } 1 .. $rounds)
{
	my $name = "seed $chosen";
	srand($chosen);
	$node->safe_psql('postgres', 'DROP SCHEMA IF EXISTS round CASCADE; CREATE SCHEMA round;');
	# What cannot be made (twice the same column, a table clustered twice) is passed by.
	my @lines = ('CREATE TABLE target (a int UNIQUE, b int, PRIMARY KEY (a, b));', map { random_table("t$_") } 1 .. $tables);
	my ($stdout, $stderr) = ('', '');
	$node->psql('postgres', join("\n", 'SET search_path = round;', @lines), stderr => \$stderr, on_error_stop => 0);
	note($stderr) if $stderr =~ /ERROR/;
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS index_before; CREATE TABLE index_before AS TABLE index_now');

	my $dump = dump_schema();
	my @found = rows($find);
	my @followed = grep { defined $_->{statement} } @found;
	cmp_ok(scalar(@followed), '>', 5, "$name: there is something to follow");
	is(run_lines(map { $_->{statement} } @followed), '', "$name: all statements run");

	my %known = map { name_of($_) => 1 } @found;
	# A new index for a foreign key makes others redundant, and says so.
	my %foretold = map { $_ => 1 } map { split /, /, $_->{makes_redundant} // '' } @followed;
	is_deeply([ map { name_of($_) . ": $_->{reason}" } grep {
			!($known{ name_of($_) } && !defined $_->{statement}) && !$foretold{ $_->{index_name} // '' } } rows($find) ],
		[], "$name: nothing new is found");
	is_deeply([ map { "$_->{relation} $_->{conname}" } rows('TABLE unserved_key') ], [], "$name: foreign keys are served");
	foreach my $test (qw(is_served is_enforced))
	{
		is_deeply([ map { $_->{name} } rows(
				"SELECT name FROM index_before AS before WHERE NOT EXISTS (SELECT FROM index_now AS now
				 WHERE $test(now, ROW(before.*)::index_now))")
			], [], "$name: each index $test by one that is left");
	}

	# What is not valid is not dumped, and its undo makes it valid; but for an index of a partitioned table.
	my @undone = grep { $_->{rule} ne 'invalid' || $_->{statement} =~ /ATTACH|DROP INDEX "?round/ } reverse @followed;
	is(run_lines(map { $_->{undo} // '' } @undone), '', "$name: the undo runs");
	is(difference($dump, dump_schema()), '', "$name: the dump is as before");
}

done_testing();
