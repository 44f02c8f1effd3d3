# Random values, as the text that the input function of a type reads.  undef is NULL.

package Fuzz::Value;

use strict;
use warnings;
use utf8;

use Exporter 'import';
our @EXPORT_OK = qw(below one_of chance some_of literal copy_field random_value random_type quoted);

# A number from 0 to n - 1.
sub below { return int rand $_[0] }

sub one_of { return $_[ below(scalar @_) ] }

sub chance { return rand() < $_[0] }

# So many of a list, in random order.
sub some_of
{
	my ($count, @from) = @_;
	my @taken;

	push @taken, splice(@from, below(scalar @from), 1) while @from && @taken < $count;
	return @taken;
}

my @words = (
	'', ' ', 'a', 'B', 'ä', '日本', "it's", '"quoted"', 'back\\slash', "tab\there", "two\nlines", '{brace}', '(1,2)', 'null', 'NULL',
	'%s $1 :x', '1.50', 'ﬀ', '😀', '***');

# Text that does not compress well.
sub long_text { return join '', map { chr(97 + below(26)) } 1 .. 2500 + below(2000) }

sub words
{
	my ($most) = @_;
	return join '', map { one_of(@words) } 0 .. below($most);
}

sub text_value
{
	return long_text() if chance(0.004);
	return one_of(@words) x 900 if chance(0.004);
	return words(4);
}

sub json_text
{
	my ($depth) = @_;

	return one_of('null', 'true', '0', '-1', '12.50', '1e3', '""', '"x"', '"***"', '"ä\\n"') if $depth == 0 || chance(0.4);
	return '[' . join(', ', map { json_text($depth - 1) } 1 .. below(4)) . ']' if chance(0.4);
	return '{' . join(', ', map { "\"$_\": " . json_text($depth - 1) } some_of(below(4), 'a', 'b', '', 'key', 'ä')) . '}';
}

# An element of an array or a field of a composite.
sub part
{
	my ($text) = @_;
	return '"' . $text =~ s/(["\\])/\\$1/gr . '"';
}

sub array_text
{
	my ($element) = @_;
	return '{' . join(',', map { chance(0.2) ? 'NULL' : part($element->()) } 1 .. below(4)) . '}';
}

sub number { return one_of(0, 1, -1, below(100), below(1_000_000), 2147483647, -2147483648) }
sub day { return sprintf '20%02d-%02d-%02d', below(40), 1 + below(12), 1 + below(28) }
sub clock { return sprintf '%02d:%02d:%02d.%06d', below(24), below(60), below(60), one_of(0, below(1_000_000)) }
sub zone { return one_of('+00', '+05:30', '-08') }

sub float_text
{
	return one_of('0', '-0', '0.1', '1e-300', '1.7976931348623157e308', '3.14159265358979', '100', '-2.5e-7', below(1000) / 8);
}

sub decimal_text { return sprintf '%s%d.%0*d', one_of('', '-'), below(1000), 1 + below(6), below(10) }

my %random = (
	'boolean' => sub { one_of('t', 'f') },
	'smallint' => sub { below(60000) - 30000 },
	'integer' => \&number,
	'bigint' => sub { one_of(number(), '9223372036854775807', '9007199254740993') },
	'numeric' => sub { one_of(decimal_text(), '1', '1.0', '1.00', '0.000', '123456789012345678901234567890.5') },
	'real' => sub { one_of('0', '-0', '0.1', '1e-30', '3e38', below(1000) / 8) },
	'double precision' => \&float_text,
	'text' => \&text_value,
	'varchar' => sub { words(3) },
	'character(6)' => sub { one_of('', 'a', 'ab  ', 'äbc', "x'y") },
	'date' => sub { one_of(day(), day(), day(), 'infinity') },
	'time' => \&clock,
	'timetz' => sub { clock() . zone() },
	'timestamp' => sub { one_of(day() . ' ' . clock(), day() . ' ' . clock(), '-infinity') },
	'timestamptz' => sub { one_of(day() . ' ' . clock() . zone(), day() . ' ' . clock() . zone(), 'infinity') },
	'interval' => sub { one_of('1 mon', '30 days', '720:00:00', '-1 year 2 days 03:04:05.6', '0', below(1000) . ' hours') },
	'bytea' => sub { '\\x' . join '', map { sprintf '%02x', below(256) } 1 .. one_of(0, 1, 5, 5, below(300)) },
	'uuid' => sub { sprintf '%08x-0000-4000-8000-%012x', below(2**31), below(2**31) },
	'jsonb' => sub { json_text(3) },
	'json' => sub { one_of(json_text(2), '{"b": 1,  "a": 2}', '{"a":1,"a":2}') },
	'integer[]' => sub { one_of('[0:1]={1,2}', '{{1,2},{3,4}}', array_text(\&number)) },
	'text[]' => sub { array_text(sub { words(2) }) },
	'int4range' => sub { my $from = below(100); one_of('empty', '(,)', "[$from," . ($from + 1 + below(9)) . ')') },
	'tstzrange' => sub { '["' . day() . ' 00:00+00",)' },
	'inet' => sub { one_of('10.0.0.' . below(256), '10.1.0.0/16', '::1') },
	'point' => sub { '(' . below(10) . ',' . below(10) . '.5)' },
	'bit(4)' => sub { sprintf '%04b', below(16) },
	'fuzz.mood' => sub { one_of('sad', 'so so', "it's fine") },
	'fuzz.small' => sub { below(100) },
	'fuzz.pair' => sub { '(' . below(10) . ',' . part(words(2)) . ')' },
	# What wal2json shows as null.
	'odd numeric' => sub { one_of('NaN', 'Infinity', '-Infinity', decimal_text()) },
	'odd float' => sub { one_of('NaN', 'Infinity', '-Infinity', '-0', float_text()) });

my @types = grep { !/^odd/ } sort keys %random;

sub random_type { return one_of(@types) }

# A value of the type, or of the kind of values that a column is for.
sub random_value
{
	my ($kind) = @_;

	return undef if chance(0.12);
	return $random{$kind}->();
}

sub quoted
{
	my ($text) = @_;
	return "'" . $text =~ s/'/''/gr . "'";
}

sub literal
{
	my ($text, $type) = @_;
	return (defined $text ? quoted($text) : 'NULL') . "::$type";
}

# As a line of COPY's text format has it.
sub copy_field
{
	my ($text) = @_;

	return '\\N' if !defined $text;
	$text =~ s/\\/\\\\/g;
	$text =~ s/\t/\\t/g;
	$text =~ s/\n/\\n/g;
	return $text;
}

1;
