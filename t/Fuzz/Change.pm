# Random statements that change rows.  A transaction has a class of keys of its own, so that
# it never waits for another; the last class is for rows that are fought for.

package Fuzz::Change;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT_OK = qw(random_change classes contended);

use Fuzz::Value qw(below one_of chance some_of literal copy_field random_value);
use Fuzz::Table qw(column key_columns writable names_list key_tuple);

use constant classes => 8;
use constant contended => classes - 1;
use constant keys_of_class => 24;

# Some numbers of keys of a class.
sub numbers
{
	my ($class, $most) = @_;
	return map { $class + classes * $_ } some_of(1 + below($most), 0 .. keys_of_class - 1);
}

# How many rows a statement is for: mostly one, now and then many.
sub size { return chance(0.5) ? 1 : chance(0.7) ? 6 : 24 }

sub target
{
	my ($table) = @_;
	return "fuzz.$table->{name}";
}

# The table, or one of its partitions.
sub target_or_partition
{
	my ($table) = @_;

	return target($table) if !$table->{partitions} || chance(0.7);
	return target($table) . '_' . one_of(sort keys %{ $table->{partitions} });
}

sub key_list { return join ', ', @{ $_[0]{key} } }

sub where_key
{
	my ($table, @numbers) = @_;
	return 'WHERE (' . key_list($table) . ') IN (' . join(', ', map { '(' . key_tuple($table, $_) . ')' } @numbers) . ')';
}

# Of a column that refers to parent, the value is a parent of the same class.
sub value_of
{
	my ($column, $class) = @_;

	return random_value($column->{kind}) if !$column->{references};
	return chance(0.2) ? undef : $class + classes * below(4);
}

sub parents_needed
{
	my ($table, $class) = @_;

	return () if !grep { $_->{references} } @{ $table->{columns} };
	return 'INSERT INTO fuzz.parent (id) VALUES ' . join(', ', map { '(' . ($class + classes * $_) . ')' } 0 .. 3)
	  . ' ON CONFLICT DO NOTHING;';
}

sub some_writable
{
	my ($table) = @_;
	my @columns = writable($table);

	return chance(0.3) ? @columns : some_of(1 + below(3), @columns);
}

# Rows with these keys and random values, for VALUES.
sub rows
{
	my ($table, $class, $columns, @numbers) = @_;

	return join ",\n  ", map {
		'(' . join(', ', key_tuple($table, $_), map { literal(value_of($_, $class), $_->{type}) } @$columns) . ')'
	} @numbers;
}

sub overriding
{
	my ($table) = @_;
	return (grep { $_->{identity} } key_columns($table)) ? ' OVERRIDING SYSTEM VALUE' : '';
}

sub set_list
{
	my ($class, @columns) = @_;
	return join ', ', map { "$_->{name} = " . literal(value_of($_, $class), $_->{type}) } @columns;
}

# ON CONFLICT does not take a key that is deferrable.
sub insert_rows
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my $names = join ', ', key_list($table), map { $_->{name} } @columns;
	my $rows = rows($table, $class, \@columns, numbers($class, size()));
	my $into = 'INSERT INTO ' . target($table) . " ($names)" . overriding($table);

	return "$into VALUES\n  $rows\nON CONFLICT DO NOTHING;" if !$table->{deferrable};
	return "$into SELECT * FROM (VALUES\n  $rows) AS new ($names)\nWHERE NOT EXISTS (SELECT FROM "
	  . target($table) . ' AS old WHERE old.id = new.id);';
}

# May fail with 23505.
sub insert_boldly
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my ($number) = numbers($class, 1);

	return 'INSERT INTO ' . target($table) . ' (' . join(', ', key_list($table), map { $_->{name} } @columns) . ')'
	  . overriding($table) . ' VALUES ' . rows($table, $class, \@columns, $number) . ';';
}

sub upsert
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my $names = join ', ', key_list($table), map { $_->{name} } @columns;

	return insert_rows($table, $class) if $table->{deferrable};
	return 'INSERT INTO ' . target($table) . " AS old ($names)" . overriding($table) . " VALUES\n  "
	  . rows($table, $class, \@columns, numbers($class, size())) . "\nON CONFLICT (" . key_list($table) . ') DO UPDATE SET '
	  . join(', ', map { "$_->{name} = EXCLUDED.$_->{name}" } @columns)
	  . (chance(0.3) ? ' WHERE old.n IS DISTINCT FROM EXCLUDED.n' : '') . ';'
	  if grep { $_->{name} eq 'n' } @columns;
	return insert_rows($table, $class);
}

sub update_rows
{
	my ($table, $class) = @_;
	return 'UPDATE ' . target_or_partition($table) . ' SET ' . set_list($class, some_writable($table)) . ' '
	  . where_key($table, numbers($class, size())) . ';';
}

# Each row to values of its own.
sub update_from
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my @key = @{ $table->{key} };
	my $names = join ', ', (map { "key_$_" } @key), map { "new_$_->{name}" } @columns;

	return 'UPDATE ' . target($table) . ' AS old SET ' . join(', ', map { "$_->{name} = new_$_->{name}" } @columns)
	  . " FROM (VALUES\n  " . rows($table, $class, \@columns, numbers($class, size())) . ") AS new ($names)\nWHERE "
	  . join(' AND ', map { "old.$_ = key_$_" } @key) . ';';
}

sub count_up
{
	my ($table, $class) = @_;
	return 'UPDATE ' . target($table) . ' SET n = coalesce(n % 1000, 0) + 1 ' . where_key($table, numbers($class, 50)) . ';';
}

# An UPDATE that changes nothing, or only a part of its rows.
sub update_in_vain
{
	my ($table, $class) = @_;
	my ($column, $other) = some_of(2, writable($table));

	return 'UPDATE ' . target($table) . " SET $column->{name} = $column->{name}"
	  . ($other && !$other->{references}
		? ", $other->{name} = coalesce($other->{name}, " . literal(value_of($other, $class), $other->{type}) . ')' : '')
	  . ' ' . where_key($table, numbers($class, 10)) . ';';
}

sub delete_rows
{
	my ($table, $class) = @_;
	return 'DELETE FROM ' . target_or_partition($table) . ' ' . where_key($table, numbers($class, chance(0.2) ? 30 : 3)) . ';';
}

# A key that is free gets the row; the freed one may be used again at once.
sub change_key
{
	my ($table, $class) = @_;
	my ($from, $to) = map { $class + classes * $_ } some_of(2, 0 .. keys_of_class - 1);
	my @columns = some_writable($table);
	my $key = key_list($table);
	my $sql = 'UPDATE ' . target($table) . " SET ($key) = ROW(" . key_tuple($table, $to) . ')'
	  . (chance(0.3) ? ', ' . set_list($class, $columns[0]) : '') . ' '
	  . where_key($table, $from) . ' AND NOT EXISTS (SELECT FROM ' . target($table) . ' ' . where_key($table, $to) . ');';

	return update_rows($table, $class) if $table->{fixed_key};
	return $sql if chance(0.6) || $table->{deferrable};
	return "$sql\nINSERT INTO " . target($table) . " ($key" . join('', map { ", $_->{name}" } @columns) . ') VALUES '
	  . rows($table, $class, \@columns, $from) . ' ON CONFLICT DO NOTHING;';
}

# Many rows get another key at once, out of the way of all others or back.
sub move_keys
{
	my ($table, $class) = @_;
	my ($key, @rest) = key_columns($table);
	my @near = numbers($class, 12);

	return change_key($table, $class) if @rest || $key->{type} ne 'integer';
	return 'UPDATE ' . target($table)
	  . " SET $key->{name} = CASE WHEN $key->{name} < 1000 THEN $key->{name} + 1000 ELSE $key->{name} - 1000 END "
	  . "WHERE $key->{name} IN (" . join(', ', @near, map { $_ + 1000 } numbers($class, 12)) . ');';
}

# Two rows, or three, change keys among them.
sub swap_keys
{
	my ($table, $class) = @_;
	my @ids = some_of(2 + below(2), map { $class + classes * $_ } 0 .. 7);
	my @to = (@ids[ 1 .. $#ids ], $ids[0]);

	return change_key($table, $class) if !$table->{deferrable};
	return 'UPDATE ' . target($table) . ' SET id = CASE id ' . join(' ', map { "WHEN $ids[$_] THEN $to[$_]" } 0 .. $#ids)
	  . ' END WHERE id IN (' . join(', ', @ids) . ');' if chance(0.6);
	return "SET CONSTRAINTS ALL DEFERRED;\n"
	  . join("\n", map { 'UPDATE ' . target($table) . " SET id = -id WHERE id = $_;" } @ids) . "\n"
	  . join("\n", map { 'UPDATE ' . target($table) . " SET id = $to[$_] WHERE id = -$ids[$_];" } 0 .. $#ids);
}

sub merge_rows
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my @key = @{ $table->{key} };
	my $names = join ', ', (map { "key_$_" } @key), map { "new_$_->{name}" } @columns;

	return 'MERGE INTO ' . target($table) . " AS old USING (VALUES\n  "
	  . rows($table, $class, \@columns, numbers($class, size())) . ") AS new ($names)\nON "
	  . join(' AND ', map { "old.$_ = key_$_" } @key) . "\n"
	  . (chance(0.5) ? "WHEN MATCHED AND old.n % 5 = 0 THEN DELETE\n" : '')
	  . 'WHEN MATCHED THEN UPDATE SET ' . join(', ', map { "$_->{name} = new_$_->{name}" } @columns) . "\n"
	  . 'WHEN NOT MATCHED THEN INSERT (' . join(', ', @key, map { $_->{name} } @columns) . ')' . overriding($table)
	  . " VALUES ($names);";
}

# Rows that are deleted and copied anew in one transaction.
sub copy_rows
{
	my ($table, $class) = @_;
	my @columns = some_writable($table);
	my @numbers = numbers($class, size());

	return delete_rows($table, $class) if overriding($table);
	return 'DELETE FROM ' . target($table) . ' ' . where_key($table, @numbers) . ';',
	  'COPY ' . target($table) . ' (' . join(', ', key_list($table), map { $_->{name} } @columns) . ") FROM STDIN;\n"
	  . join('', map {
		join("\t", (map { copy_field($_) } $table->{values_of}->($_)), map { copy_field(value_of($_, $class)) } @columns) . "\n"
	  } @numbers) . '\\.';
}

# A writable CTE: what one part deletes the other writes elsewhere.
sub write_twice
{
	my ($table, $class) = @_;
	return 'WITH gone AS (DELETE FROM ' . target($table) . ' ' . where_key($table, numbers($class, 4)) . " RETURNING n)\n"
	  . 'UPDATE ' . target($table) . ' SET n = (SELECT coalesce(sum(n % 100), 0) FROM gone) '
	  . where_key($table, numbers($class, 4)) . ' AND n IS NOT NULL;';
}

my @changes = (
	(\&insert_rows) x 6, \&insert_boldly, (\&upsert) x 3, (\&update_rows) x 5, (\&update_from) x 4, (\&count_up) x 3, \&update_in_vain,
	(\&delete_rows) x 3, (\&change_key) x 3, \&move_keys, (\&swap_keys) x 2, (\&merge_rows) x 3, \&copy_rows, \&write_twice);

# One statement or a few that belong together, each to be sent when the one before it did not fail.
sub random_change
{
	my ($table, $class) = @_;
	return (parents_needed($table, $class), one_of(@changes)->($table, $class));
}

1;
