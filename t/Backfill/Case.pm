# A table as nobody would make it, and something to do to its rows: the script that does it
# to one copy by a backfill and to the other by a plain UPDATE, and compares them.

package Backfill::Case;

use strict;
use warnings;

# What values of a type look like for row i, and what can be assigned to a column of it.
# %c is the column, %o another of the type if there is one, else itself, %a any column.
my %type = (
	'integer' => [ '(random() * 20)::int', '%c + 1', '%o', '%o % 7', 'coalesce(%c, 7)', 'length(%a::text)', 'abs(-%o)' ],
	'bigint' => [ '(random() * 1e12)::bigint', '%o * 2 - 1', '%c', 'hashtext(%a::text)', '5' ],
	'numeric(20,4)' => [ 'random() * 1000', 'round(%o, 1)', '%o / 3', q('NaN'), '%o + 0.00' ],
	'double precision' => [ 'CASE WHEN random() < 0.1 THEN float8 \'NaN\' ELSE random() END', '-%o', '0', q('-0'), '%o * 1.5' ],
	'boolean' => [ 'random() < 0.5', 'NOT %o', '%a IS NULL', 'true' ],
	'text' => [ 'md5(random()::text)', 'upper(%o)', 'lower(%c)', q(%c || 'x'), q(''), 'left(%a::text, 5000)', q(E'it''s \\\\ $1; --'),
		q(repeat(%o, 100)), q(shout(%o)), q(%o <+> 'y') ],
	'varchar(12)' => [ 'left(md5(random()::text), 9)', q(left(%o || %o, 12)), q('ü'), '%o::varchar(3)' ],
	'char(8)' => [ 'left(md5(random()::text), 5)', 'reverse(%o)', q('a') ],
	'date' => [ q(date '2024-02-28' + (random() * 99)::int), '%o + 1', q('01/02/2023'), q(date_trunc('month', %o)) ],
	'timestamptz' => [ q(timestamptz '2024-03-31 00:30+00' + random() * 99 * interval '1 hour'), q(%o + '1 day'),
		q(%o AT TIME ZONE 'UTC'), q('2024-05-06 07:08') ],
	'interval' => [ q(random() * 99 * interval '1 day 7 minutes'), '%o * 2', q('1 month -3 days') ],
	'uuid' => [ 'md5(random()::text)::uuid', 'md5(%a::text)::uuid', '%o' ],
	'json' => [ q(json_build_object('a', random(), 'b', NULL)), q('{"a":  1}'), 'to_json(%a)' ],
	'jsonb' => [ q(jsonb_build_object('a', (random() * 9)::int, 'b', '[1, 2]'::jsonb)), q(%o || '{"z": 1}'), q(%o - 'a'),
		q(jsonb_set(%o, '{b,0}', '"x"')), q(coalesce(%o, '{}')) ],
	'bytea' => [ 'decode(md5(random()::text), \'hex\')', 'substr(%o, 2)', q('\x00ff') ],
	'point' => [ 'point(random(), random())', '%o', 'point(1, 2)' ],
	'integer[]' => [ 'ARRAY[(random() * 9)::int, NULL, i]', '%o || 1', q('{{1,2},{3,4}}'), 'array_remove(%o, NULL)' ],
	'int4range' => [ 'int4range(i, i + 5)', '%o * int4range(3, 900)', q('empty') ],
	'inet' => [ q(inet '10.0.0.0/16' + (random() * 9999)::int), 'network(%o)', q('::1') ],
	'bit varying' => [ '(random() * 99)::int::bit(8)', q(%o || B'1'), q(B'') ],
	'tsvector' => [ q(to_tsvector('simple', 'cat ' || md5(random()::text))), q(to_tsvector('simple', %a::text)), 'strip(%o)' ],
	'money' => [ '(random() * 99)::numeric::money', '%o * 2', q('1') ],
	'mood' => [ q((ARRAY['sad', 'ok', 'happy'])[1 + (random() * 2)::int]::mood), q('happy'), 'enum_last(%o)' ],
	'small' => [ '(random() * 9)::int', '%o + 1', '9' ],
	'pair' => [ 'ROW((random() * 9)::int, md5(random()::text))::pair', 'ROW((%o).x + 1, (%o).y)', 'ROW(1, NULL)::pair', '%o' ]);

# What a case may need beside its tables.
our $setup = <<'SQL';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN small AS integer CHECK (VALUE <= 10);
CREATE TYPE pair AS (x int, y text);
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1) || '!' $$;
CREATE FUNCTION glue(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '+' || $2 $$;
CREATE OPERATOR <+> (LEFTARG = text, RIGHTARG = text, FUNCTION = glue);
CREATE FUNCTION derive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.derived := md5((to_jsonb(NEW) - '{derived,made}'::text[])::text); RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RETURN CASE WHEN hashtext(OLD::text) % 5 = 0 THEN OLD ELSE NEW END; END $$;
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RETURN CASE WHEN hashtext(OLD::text) % 5 = 0 THEN NULL ELSE NEW END; END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD *<> NEW THEN
        INSERT INTO noted VALUES (TG_ARGV[0], OLD::text, NEW::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TABLE noted (copy text, old text, new text);

-- What on_error => 'skip' shall come to; returns how many rows it leaves out.
CREATE FUNCTION row_by_row(copy regclass, set text, filter text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    place record;
    rejected integer := 0;
BEGIN
    FOR place IN EXECUTE format('SELECT tableoid::regclass AS part, ctid FROM %s WHERE %s', copy, filter) LOOP
        BEGIN
            EXECUTE format('UPDATE ONLY %s SET %s WHERE ctid = $1', place.part, set) USING place.ctid;
        EXCEPTION WHEN OTHERS THEN
            rejected := rejected + 1;
        END;
    END LOOP;
    RETURN rejected;
END $$;
CREATE FUNCTION await(number bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM architect.backfill_jobs WHERE job = number AND finished_at IS NULL) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SQL

# Kinds of keys: columns with their values for row i, and what makes them a key.
my @keys = (
	[],
	[ [ 'id', 'integer', '(i * 7919) % 100003' ], 'PRIMARY KEY (%k)' ],
	[ [ 'id', 'bigint', 'i' ], 'PRIMARY KEY (%k)' ],
	[ [ 'Id "x"', 'uuid', 'md5(i::text)::uuid' ], 'PRIMARY KEY (%k)' ],
	[ [ 'k', 'text', q(md5(i::text) || CASE WHEN i % 3 = 0 THEN ' Ä''\"' ELSE '' END) ], 'PRIMARY KEY (%k)' ],
	[ [ 'k', 'timestamptz', q(timestamptz '2024-01-01' + i * interval '1 microsecond') ], 'UNIQUE (%k)' ],
	[ [ 'a', 'smallint', 'i % 5' ], [ 'b', 'text', 'md5(i::text)' ], [ 'c', 'date', q(date '2024-01-01' - i) ], 'PRIMARY KEY (%k)' ],
	[ [ 'k', 'numeric', 'i / 7.0' ], [ 'select', 'char(10)', 'i::text' ], 'INDEX' ]);

my @names = ('t', 'target', 'Tab "le"', 'old', 'table');
my @column_names = ('v', 'target', 'Col "umn"', 'new', 'where', 'ünï', 'x y', 'value', 'set_list');

sub pick { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }
sub shuffle { return map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @_ }
sub quote { return '"' . ($_[0] =~ s/"/""/gr) . '"' }
sub literal { return "'" . ($_[0] =~ s/'/''/gr) . "'" }

sub new
{
	my ($class) = @_;
	my $self = bless { columns => [], setup => '' }, $class;

	$self->{skip} = chance(0.2);
	$self->{kind} = pick(('plain') x 5, 'unlogged', 'partitioned', 'partitioned', 'inherited');
	$self->{trigger} = pick(('') x 6, 'derive', 'refuse', 'suppress', 'note');
	$self->{dropped} = chance(0.3);
	$self->{generated} = chance(0.2);
	$self->{toasted} = chance(0.15);
	$self->{check} = $self->{skip} && chance(0.5);
	$self->{indexed} = chance(0.4);
	$self->{fillfactor} = pick(10, 50, 90, 100, 100);
	$self->{rows} = $self->{toasted} ? 300 : pick(0, 1, 40, 300, 2000, 4000);
	@{$self}{qw(t u)} = pick([ 't', 'u' ], [ 'target', 'u' ], [ 'Tab "le"', "tab'le" ], [ 'old', 'new' ], [ 'table', 'set' ])->@*;
	$self->choose_columns;
	$self->choose_change;
	return $self;
}

sub choose_columns
{
	my ($self) = @_;
	my @key = pick(@keys)->@*;
	my $last = pick(sort keys %type);

	$self->{key_rule} = $self->{kind} eq 'inherited' ? '' : pop @key // '';
	@key = grep { ref } @key;
	push @key, [ 'part', 'integer', 'i' ] if $self->{kind} eq 'partitioned' && !@key;
	$self->{key} = [ map { quote($_->[0]) } @key ];
	push @{ $self->{columns} }, { name => quote($_->[0]), type => $_->[1], value => $_->[2], key => 1 } foreach @key;
	foreach my $name ((shuffle(@column_names))[ 0 .. 1 + int rand 5 ])
	{
		$last = chance(0.3) ? $last : pick(sort keys %type);
		push @{ $self->{columns} }, { name => quote($name), type => $last, value => $type{$last}[0], nulls => pick(0, 0.2, 1) };
	}
	@{ $self->{columns} } = shuffle(@{ $self->{columns} });
}

# An expression for a column, from a template.
sub expression
{
	my ($self, $column, $template) = @_;
	my $other = pick(grep { $_->{type} eq $column->{type} && !$_->{key} } @{ $self->{columns} });
	my $any = pick(@{ $self->{columns} });

	return $template =~ s/%([coa])/{ c => $column, o => $other, a => $any }->{$1}{name}/ger;
}

sub choose_change
{
	my ($self) = @_;
	my @columns = shuffle(grep { !$_->{key} } @{ $self->{columns} });
	my $any = pick(@{ $self->{columns} })->{name};
	my @filters = (('') x 8, "hashtext($any\::text) % 3 = 0", "$any IS NOT NULL", 'true', 'false', 'NULL', "$any\::text < '5' OR $any IS NULL");
	my @set;

	foreach my $column (@columns[ 0 .. int rand(@columns > 3 ? 3 : @columns) ])
	{
		my ($name, $templates) = ($column->{name}, $type{ $column->{type} });
		my $value = chance(0.2) ? pick('NULL', 'DEFAULT', $name) : $self->expression($column, pick($templates->@[ 1 .. $#$templates ]));

		if ($self->{skip} && chance(0.5))
		{
			$value = "CASE WHEN hashtext($any\::text) % 9 = 1 THEN (1 / (length($any\::text) * 0))::text END::$column->{type}";
		}
		elsif ($value ne 'DEFAULT')
		{
			push @filters, "$name IS NULL", "$name\::text IS DISTINCT FROM ($value)::text";
		}
		push @set, "$name = $value";
		$self->{reads_own} ||= $value;
	}
	my $assigned = join '|', map { /^("(?:""|[^"])*") = / ? quotemeta $1 : () } @set;
	$self->{reads_own} = grep { s/^"(?:""|[^"])*" = //r =~ /$assigned/ } @set;
	$self->{set} = join ', ', @set;
	$self->{filter} = pick(@filters);
	$self->{walk} = pick('', '', 'block', 'key');
	$self->{workers} = chance(0.1) ? 1 + int rand 2 : 0;
}

# Whether a job may be refused: what must be done once needs a key.
sub may_be_refused
{
	my ($self) = @_;
	my $has_key = $self->{key_rule} ne '';

	return $self->{walk} eq 'key' && !$has_key || $self->{reads_own} && ($self->{walk} eq 'block' || !$has_key);
}

# The partitions or children of a copy: [ name, what makes it one ].
sub parts
{
	my ($self, $copy) = @_;
	my $of = 'PARTITION OF ' . quote($copy) . ' FOR VALUES WITH';

	return [ "$copy child", '(more integer) INHERITS (' . quote($copy) . ')' ] if $self->{kind} eq 'inherited';
	return () if $self->{kind} ne 'partitioned';
	return (
		[ "$copy 0", "$of (MODULUS 3, REMAINDER 0)" ],
		[ "$copy 1", "$of (MODULUS 3, REMAINDER 1)" ],
		[ "$copy 2", "$of (MODULUS 3, REMAINDER 2) PARTITION BY HASH ($self->{key}[0])" ],
		map { [ "$copy 2$_", 'PARTITION OF ' . quote("$copy 2") . " FOR VALUES WITH (MODULUS 2, REMAINDER $_)" ] } 0, 1);
}

sub create
{
	my ($self, $copy) = @_;
	my $table = quote($copy);
	my $first = $self->{columns}[0]{name};
	my $last = $self->{columns}[-1];
	my @columns = map { "$_->{name} $_->{type}" . ($_->{key} ? ' NOT NULL' : '') } @{ $self->{columns} };
	my $sql = $self->{kind} eq 'unlogged' ? 'CREATE UNLOGGED TABLE' : 'CREATE TABLE';

	splice @columns, rand @columns, 0, 'gone integer' if $self->{dropped};
	push @columns, "made text GENERATED ALWAYS AS (($first IS NULL)::text) STORED" if $self->{generated};
	push @columns, 'derived text' if $self->{trigger} eq 'derive';
	push @columns, "big text DEFAULT ''" if $self->{toasted};
	push @columns, $self->{key_rule} =~ s/%k/join ', ', @{ $self->{key} }/er if $self->{key_rule} =~ /%k/;
	$sql .= " $table (" . join(', ', @columns) . ')';
	$sql .= $self->{kind} eq 'partitioned' ? " PARTITION BY HASH ($self->{key}[0]);\n" : " WITH (fillfactor = $self->{fillfactor});\n";
	$sql .= 'CREATE TABLE ' . quote($_->[0]) . " $_->[1];\n" foreach $self->parts($copy);
	$sql .= "ALTER TABLE $table DROP gone;\n" if $self->{dropped};
	$sql .= "CREATE UNIQUE INDEX ON $table ($self->{key}[0] DESC, $self->{key}[1]);\n" if $self->{key_rule} eq 'INDEX';
	$sql .= "CREATE INDEX ON $table ($last->{name});\n" if $self->{indexed} && $last->{type} =~ /^(?:integer|bigint|uuid|boolean|date)$/;
	return $sql;
}

# What comes only when the rows are there.
sub complete
{
	my ($self, $copy) = @_;
	my $table = quote($copy);
	my $sql = '';

	$sql .= "ALTER TABLE $table ADD CHECK (length(($self->{columns}[-1]{name})::text) % 11 <> 5) NOT VALID;\n" if $self->{check};
	return $sql if $self->{trigger} eq '';
	return "${sql}CREATE TRIGGER a AFTER UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION note(" . literal($copy) . ");\n"
	  if $self->{trigger} eq 'note';
	return "${sql}CREATE TRIGGER a BEFORE UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION $self->{trigger}();\n";
}

# Rows for one copy, some of them deleted again, and the same for the other.
sub fill
{
	my ($self) = @_;
	my @names = map { $_->{name} } @{ $self->{columns} };
	my @values = map { $_->{nulls} ? "CASE WHEN random() >= $_->{nulls} THEN $_->{value} END" : $_->{value} } @{ $self->{columns} };
	my ($from, $to) = (quote($self->{t}), quote($self->{u}));
	my $sql = '';

	if ($self->{toasted})
	{
		push @names, 'big';
		push @values, q{CASE WHEN i % 3 = 0 THEN (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) AS j) ELSE 'small' END};
	}
	my ($names, $values) = (join(', ', @names), join(', ', @values));
	$sql .= "INSERT INTO $from ($names) SELECT $values FROM generate_series(1, $self->{rows}) AS i;\n";
	$sql .= "DELETE FROM $from WHERE random() < 0.1;\n" if chance(0.3);
	$sql .= "INSERT INTO $to ($names) SELECT $names FROM $from;\n";
	if ($self->{kind} eq 'inherited')
	{
		($from, $to) = map { quote("$self->{$_} child") } qw(t u);
		$sql .= "INSERT INTO $from ($names) SELECT $values FROM generate_series(10000, 10200) AS i;\n";
		$sql .= "INSERT INTO $to ($names) SELECT $names FROM $from;\n";
	}
	if ($self->{trigger} eq 'derive')
	{
		$sql .= "UPDATE $_ AS _r SET derived = md5((to_jsonb(_r) - '{derived,made}'::text[])::text);\n" foreach map { quote($self->{$_}) } qw(t u);
	}
	return $sql;
}

sub change
{
	my ($self) = @_;
	my $where = $self->{filter} eq '' ? 'true' : $self->{filter};
	my $arguments = literal(quote($self->{t})) . ', set => ' . literal($self->{set}) . ", batch_time => '" . pick('1ms', '1ms', '20ms') . "'";
	my $sql = '';

	$arguments .= ', filter => ' . literal($self->{filter}) if $self->{filter} ne '';
	$arguments .= ", walk => '$self->{walk}'" if $self->{walk} ne '';
	$arguments .= ", on_error => 'skip', max_rejects => 100000" if $self->{skip};
	$sql .= 'SELECT row_by_row(' . join(', ', literal(quote($self->{u})), literal($self->{set}), literal($where)) . ") AS expected \\gset\n" if $self->{skip};
	$sql .= "\\set expected 0\nUPDATE " . quote($self->{u}) . " SET $self->{set} WHERE $where;\n" if !$self->{skip};
	$sql .= "\\set plain :SQLSTATE\n";
	$sql .= "CALL architect.backfill($arguments);\n" if !$self->{workers};
	$sql .= "SELECT architect.backfill_start($arguments, workers => $self->{workers}) AS job \\gset\n" if $self->{workers};
	$sql .= "\\set called :SQLSTATE\n\\set message :LAST_ERROR_MESSAGE\n";
	$sql .= "SELECT await(:job);\n" if $self->{workers};
	return $sql;
}

# One line: how both ended, and how many rows differ.
sub compare
{
	my ($self) = @_;
	my %rows = map { $_ => 'SELECT _r::text FROM ' . quote($self->{$_}) . ' AS _r' } qw(t u);
	my %notes = map { $_ => 'SELECT old, new FROM noted WHERE copy = ' . literal($self->{$_}) } qw(t u);
	my $sql = <<'SQL';
SELECT :'plain', :'called', coalesce(state, 'none'), :expected - (SELECT count(*) FROM architect.backfill_rejects AS reject WHERE reject.job = last.job),
       (SELECT count(*) FROM (t EXCEPT ALL u) AS too_many), (SELECT count(*) FROM (u EXCEPT ALL t) AS missing),
       (SELECT count(*) FROM ((t_notes EXCEPT ALL u_notes) UNION ALL (u_notes EXCEPT ALL t_notes)) AS notes), coalesce(error, :'message')
FROM (SELECT) AS one
LEFT JOIN (SELECT job, state, error FROM architect.backfill_jobs WHERE target = to_regclass(name) ORDER BY job DESC LIMIT 1) AS last ON true;
SQL
	my %part = (t => $rows{t}, u => $rows{u}, t_notes => $notes{t}, u_notes => $notes{u}, name => literal(quote($self->{t})));

	return $sql =~ s/\b(t_notes|u_notes|name|t|u)\b/$part{$1}/gr;
}

sub script
{
	my ($self, $seed) = @_;

	return join '', "SELECT FROM setseed($seed);\n", $self->create($self->{t}), $self->create($self->{u}), $self->fill,
	  $self->complete($self->{t}), $self->complete($self->{u}), $self->change, $self->compare,
	  'DROP TABLE ' . join(', ', map { quote($self->{$_}) } qw(t u)) . " CASCADE;\nTRUNCATE noted;\n";
}

# Nothing, or what is wrong about the line that compare() gives.
sub problem
{
	my ($self, $line) = @_;
	my ($plain, $called, $state, $rejects, @rest) = split /\|/, $line;
	my $differ = grep { $_ } @rest[ 0 .. 2 ];

	return 'no comparison' if !defined $rest[2];
	return $self->may_be_refused ? '' : 'refused' if $called eq '55000' && $state eq 'none';
	return $called eq $plain && $state eq 'failed' || $self->{workers} && $state eq 'failed' ? '' : 'ends in another way' if $plain ne '00000';
	return 'not done' if $called ne '00000' || $state ne 'done';
	return 'differs' if $differ;

	# A row that would not change is passed by, even if a constraint would not let it stay.
	return 'rejects differ' if $self->{check} ? $rejects < 0 : $rejects;
	return '';
}

1;
