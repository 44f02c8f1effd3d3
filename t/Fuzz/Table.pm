# The tables of the fuzz test: how they are made and audited, and what they look like now.
#
# A table is a hash: name, columns, key (names of columns), values_of (a sub from a number
# to the key's values), audit (the arguments of audit_enable), and some words on what may be
# done with it.  A column is a hash: name, type, kind (of random values), number (attnum),
# and hidden, generated, identity, references or added where it is so.

package Fuzz::Table;

use strict;
use warnings;
use utf8;

use Exporter 'import';
our @EXPORT_OK = qw(make_tables create_sql column key_columns writable visible names_list image key_tuple shape_of set_shape signature);

use Fuzz::Value qw(literal quoted);

our $setup = <<'SQL';
CREATE TYPE fuzz.mood AS ENUM ('sad', 'so so', 'it''s fine');
CREATE DOMAIN fuzz.small AS integer CHECK (VALUE < 1000);
CREATE TYPE fuzz.pair AS (number integer, words text);

-- Sees that seen is set, whatever it is called.
CREATE FUNCTION fuzz.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_populate_record(NEW, jsonb_build_object((SELECT attname FROM pg_attribute
        WHERE attrelid = TG_RELID AND attnum = 4), clock_timestamp()));
END $$;
SQL

my %many = (
	flag => 'boolean', small => 'smallint', big => 'bigint', amount => 'numeric', ratio => 'double precision', short => 'real',
	padded => 'character(6)', label => 'varchar', day => 'date', moment => 'time', zoned => 'timetz', local => 'timestamp',
	at => 'timestamptz', lasts => 'interval', raw => 'bytea', token => 'uuid', doc => 'jsonb', exact => 'json', list => 'integer[]',
	tags => 'text[]', span => 'int4range', period => 'tstzrange', address => 'inet', place => 'point', bits => 'bit(4)',
	mood => 'fuzz.mood', few => 'fuzz.small', pair => 'fuzz.pair', odd_number => [ 'numeric', 'odd numeric' ],
	odd_float => [ 'double precision', 'odd float' ]);
my @many = map { [ $_, ref $many{$_} ? @{ $many{$_} } : $many{$_} ] } sort keys %many;

my $uuid = sub { sprintf '%08x-1111-4111-8111-%012d', $_[0] * 7919, $_[0] };
my $words = sub { ("k $_[0]", "\"k\" $_[0]", "k'$_[0]\\", "ключ $_[0]")[ $_[0] % 4 ] };

# name, columns, key, values of the key, arguments of audit_enable, anything else
my @tables = (
	[ 'plain', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'title', 'text' ], [ 'price', 'numeric' ], [ 'doc', 'jsonb' ] ],
		['id'], sub { $_[0] }, '' ],
	[ 'wide', [ [ 'id', 'bigint' ], [ 'n', 'integer' ], @many ],
		['id'], sub { $_[0] . '000000000' }, '' ],
	[ 'whole', [ [ 'id', 'uuid' ], [ 'n', 'integer' ], @many ],
		['id'], $uuid, "capture => 'full', truncate => 'rows'", may_truncate => 1, fixed_key => 1 ],
	[ 'hiding', [ [ 'name', 'text' ], [ 'n', 'integer' ], [ 'title', 'text' ], [ 'seen', 'timestamptz', hidden => 'exclude' ],
			[ 'card', 'text', hidden => 'mask' ], [ 'doc', 'jsonb', hidden => 'mask' ] ],
		['name'], $words, "exclude => '{seen}', mask => '{card,doc}'",
		more => 'CREATE TRIGGER touch BEFORE UPDATE ON fuzz.hiding FOR EACH ROW EXECUTE FUNCTION fuzz.touch();' ],
	[ 'twofold', [ [ 'a', 'integer' ], [ 'b', 'text' ], [ 'n', 'integer' ], [ 'tags', 'text[]' ], [ 'amount', 'numeric' ] ],
		[ 'b', 'a' ], sub { ($words->($_[0]), int($_[0] / 3)) }, '' ],
	[ 'composite', [ [ 'id', 'fuzz.pair' ], [ 'n', 'integer' ], [ 'mood', 'fuzz.mood' ] ],
		['id'], sub { "($_[0],\"a, b\")" }, "truncate => 'rows'", may_truncate => 1 ],
	[ 'moments', [ [ 'at', 'timestamptz' ], [ 'n', 'integer' ], [ 'lasts', 'interval' ],
			[ 'twice', 'integer', generated => 'n / 2 * 2' ], [ 'serial', 'bigint', identity => 1 ] ],
		['at'], sub { sprintf '2026-02-%02d %02d:%02d:00+00', 1 + $_[0] / 1440, $_[0] / 60 % 24, $_[0] % 60 }, '' ],
	[ 'numbered', [ [ 'id', 'bigint', identity => 1 ], [ 'n', 'integer' ], [ 'title', 'text' ],
			[ 'wording', 'text', generated => "coalesce(title, '-') || n" ] ],
		['id'], sub { $_[0] }, '', fixed_key => 1 ],
	[ 'parts', [ [ 'id', 'integer' ], [ 'region', 'text' ], [ 'n', 'integer' ], [ 'title', 'text' ], [ 'ratio', 'double precision' ] ],
		[ 'id', 'region' ], sub { (int($_[0] / 4), ('north', 'south', 'east', 'west')[ $_[0] % 4 ]) },
		"truncate => 'rows'", may_truncate => 1, partitions => { north => "'north'", south => "'south'", other => undef } ],
	[ 'swapped', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'title', 'text' ] ],
		['id'], sub { $_[0] }, '', deferrable => 1 ],
	[ 'parent', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'title', 'varchar' ] ],
		['id'], sub { $_[0] }, '' ],
	[ 'child', [ [ 'id', 'bigint' ], [ 'n', 'integer' ], [ 'parent_id', 'integer', references => 'CASCADE' ], [ 'title', 'text' ] ],
		['id'], sub { $_[0] }, '' ],
	[ 'orphan', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'parent_id', 'integer', references => 'SET NULL' ] ],
		['id'], sub { $_[0] }, "capture => 'full'" ],
	[ 'events', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'title', 'text' ] ],
		['id'], sub { $_[0] }, "truncate => 'event'", may_truncate => 1, forgets => 1 ],
	[ 'keyed', [ [ 'id', 'integer' ], [ 'n', 'integer' ], [ 'title', 'text' ] ],
		['id'], sub { $_[0] }, "capture => 'keys'", no_values => 1 ]);

sub make_column
{
	my ($number, $name, $type, @rest) = @_;
	my $kind = @rest % 2 ? shift @rest : $type;

	return { number => $number, name => $name, type => $type, kind => $kind, names => [$name], @rest };
}

sub make_tables
{
	return map {
		my ($name, $columns, $key, $values_of, $audit, @rest) = @$_;
		my $number = 0;
		{
			name => $name, key => $key, values_of => $values_of, audit => $audit, next_number => @$columns + 1,
			columns => [ map { make_column(++$number, @$_) } @$columns ], @rest
		}
	} @tables;
}

sub column_sql
{
	my ($column) = @_;
	my $sql = "$column->{name} $column->{type}";

	$sql .= ' GENERATED ALWAYS AS IDENTITY' if $column->{identity};
	$sql .= " GENERATED ALWAYS AS ($column->{generated}) STORED" if $column->{generated};
	$sql .= " REFERENCES fuzz.parent ON UPDATE CASCADE ON DELETE $column->{references}" if $column->{references};
	return $sql;
}

sub partition_sql
{
	my ($table) = @_;
	my $partitions = $table->{partitions};

	return map {
		my $bound = defined $partitions->{$_} ? "FOR VALUES IN ($partitions->{$_})" : 'DEFAULT';
		"CREATE TABLE fuzz.$table->{name}_$_ PARTITION OF fuzz.$table->{name} $bound;\n"
		  . "ALTER TABLE fuzz.$table->{name}_$_ REPLICA IDENTITY FULL;\n"
	} sort keys %$partitions;
}

# The statements that make a table and start its audit.
sub create_sql
{
	my ($table) = @_;
	my $key = join ', ', @{ $table->{key} };
	my $deferrable = $table->{deferrable} ? ' DEFERRABLE' : '';
	my $sql = "CREATE TABLE fuzz.$table->{name} (" . join(', ', map { column_sql($_) } @{ $table->{columns} });

	$sql .= ", PRIMARY KEY ($key)$deferrable)" . ($table->{partitions} ? ' PARTITION BY LIST (region)' : '') . ";\n";
	$sql .= "ALTER TABLE fuzz.$table->{name} REPLICA IDENTITY FULL;\n";
	$sql .= join '', partition_sql($table) if $table->{partitions};
	$sql .= "$table->{more}\n" if $table->{more};
	$sql .= "SELECT FROM architect.audit_enable('fuzz.$table->{name}'" . ($table->{audit} ? ", $table->{audit}" : '') . ");\n";
	return $sql;
}

sub column
{
	my ($table, $name) = @_;
	my ($column) = grep { $_->{name} eq $name } @{ $table->{columns} };
	return $column;
}

sub key_columns
{
	my ($table) = @_;
	return map { column($table, $_) } @{ $table->{key} };
}

# The columns that INSERT and UPDATE may set, without those of the key.
sub writable
{
	my ($table) = @_;
	my %key = map { $_ => 1 } @{ $table->{key} };

	return grep { !$key{ $_->{name} } && !$_->{generated} && !$_->{identity} } @{ $table->{columns} };
}

# The columns whose values the log has.
sub visible
{
	my ($table) = @_;
	return grep { !$_->{hidden} } @{ $table->{columns} };
}

sub names_list { return join ', ', map { $_->{name} } @_ }

# An expression for the given columns of a row, exact to the last digit.
sub image
{
	my ($alias, @columns) = @_;
	return 'ARRAY[' . join(', ', map { "$alias.$_->{name}::text" } @columns) . ']';
}

# The key with this number, as a row of literals.
sub key_tuple
{
	my ($table, $number) = @_;
	my @values = $table->{values_of}->($number);

	return join ', ', map { literal(shift @values, $_->{type}) } key_columns($table);
}

# Tells whether the columns are what they were.
sub signature { return join ' ', map { "$_->{number}:$_->{type}" } @{ $_[0]{columns} } }

# What DDL changes, to be put back when it is rolled back.
sub shape_of
{
	my ($table) = @_;
	return {
		columns => [ map { { %$_, names => [ @{ $_->{names} } ] } } @{ $table->{columns} } ],
		key => [ @{ $table->{key} } ],
		spare => $table->{spare},
		incomplete => $table->{incomplete},
		next_number => $table->{next_number}
	};
}

sub set_shape
{
	my ($table, $shape) = @_;
	my %ever = map { $_->{number} => $_->{names} } @{ $table->{columns} };

	$table->{$_} = $shape->{$_} foreach keys %$shape;
	$_->{names} = $ever{ $_->{number} } // $_->{names} foreach @{ $table->{columns} };
}

1;
