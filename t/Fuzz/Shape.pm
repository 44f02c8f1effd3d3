# Random DDL.  Each sub returns the statements and changes the table's description with them.

package Fuzz::Shape;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT_OK = qw(random_shape harmless_shape);

use Fuzz::Value qw(below one_of chance literal random_value random_type);

my %wider = (smallint => 'integer', integer => 'bigint', bigint => 'numeric', numeric => 'text', varchar => 'text');
my $names = 0;

sub altered { return "ALTER TABLE fuzz.$_[0]{name} $_[1];" }

sub add_column
{
	my ($table) = @_;
	my $type = random_type();
	my $value = random_value($type);
	my $number = $table->{next_number}++;

	push @{ $table->{columns} }, { number => $number, name => "x$number", type => $type, kind => $type, names => ["x$number"], added => 1 };
	return altered($table, "ADD COLUMN x$number $type" . (defined $value ? ' DEFAULT ' . literal($value, $type) : ''));
}

sub drop_column
{
	my ($table) = @_;
	my @added = grep { $_->{added} } @{ $table->{columns} };
	return add_column($table) if !@added;

	my $column = one_of(@added);
	@{ $table->{columns} } = grep { $_ != $column } @{ $table->{columns} };
	$table->{incomplete} = 1;
	return altered($table, "DROP COLUMN $column->{name}");
}

# The statements of the test name n and region, and the key of tables that others refer to.
sub rename_column
{
	my ($table) = @_;
	my $fixed = $table->{deferrable} || $table->{name} eq 'parent';
	my $column = one_of(grep { $_->{name} !~ /^(?:n|region)$/ && !($fixed && $_->{name} eq 'id') } @{ $table->{columns} });
	my $name = ($column->{names}[0] =~ s/^(?!odd)/r/r) . '_' . ++$names;
	my $sql = altered($table, "RENAME COLUMN $column->{name} TO $name");

	@{ $table->{key} } = map { $_ eq $column->{name} ? $name : $_ } @{ $table->{key} };
	$column->{name} = $name;
	push @{ $column->{names} }, $name;
	return $sql;
}

# To a type that takes each value's text as it is.
sub widen_column
{
	my ($table) = @_;
	my $generated = join ' ', map { $_->{generated} // '' } @{ $table->{columns} };
	my %key = map { $_ => 1 } @{ $table->{key} };
	my @columns = grep {
		$wider{ $_->{type} } && !$_->{identity} && !$_->{references} && $_->{name} ne 'n' && !$key{ $_->{name} } && $_->{name} !~ /^odd/
	} Fuzz::Table::writable($table);
	return rename_column($table) if !@columns || $generated;

	my $column = one_of(@columns);
	$column->{type} = $column->{kind} = $wider{ $column->{type} };
	return altered($table, "ALTER COLUMN $column->{name} TYPE $column->{type}");
}

sub make_index
{
	my ($table) = @_;
	return "CREATE INDEX IF NOT EXISTS $table->{name}_n ON fuzz.$table->{name} (n);";
}

sub drop_index
{
	my ($table) = @_;
	return "DROP INDEX IF EXISTS fuzz.$table->{name}_n;";
}

# A partition goes and comes back; behind that nothing can be shown, unless it is empty.
sub move_partition
{
	my ($table) = @_;
	my $name = one_of(sort keys %{ $table->{partitions} });
	my $bound = defined $table->{partitions}{$name} ? "FOR VALUES IN ($table->{partitions}{$name})" : 'DEFAULT';

	return altered($table, "DETACH PARTITION fuzz.$table->{name}_$name") . "\n"
	  . altered($table, "ATTACH PARTITION fuzz.$table->{name}_$name $bound");
}

# A partition for a region that nobody uses comes, or goes again.
sub spare_partition
{
	my ($table) = @_;
	my $spare = delete $table->{spare};
	my $name = "fuzz.$table->{name}_" . ++$names;

	return altered($table, "DETACH PARTITION $spare") . "\nDROP TABLE $spare;" if $spare;
	$table->{spare} = $name;
	return "CREATE TABLE $name PARTITION OF fuzz.$table->{name} FOR VALUES IN ('$name');" if chance(0.5);
	return "CREATE TABLE $name (LIKE fuzz.$table->{name} INCLUDING ALL);\n"
	  . altered($table, "ATTACH PARTITION $name FOR VALUES IN ('$name')");
}

my @shapes = ((\&add_column) x 4, (\&drop_column) x 2, (\&rename_column) x 3, (\&widen_column) x 3, \&make_index, \&drop_index);

sub random_shape
{
	my ($table) = @_;

	return move_partition($table) if $table->{partitions} && chance(0.1);
	return spare_partition($table) if $table->{partitions} && chance(0.3);
	return one_of(@shapes)->($table);
}

# DDL after which each value is what it was.
sub harmless_shape { return one_of(\&rename_column, \&widen_column)->($_[0]) }

1;
