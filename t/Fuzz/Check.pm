# What must be true: each sub returns what is not, as text that is empty if all is well.

package Fuzz::Check;

use strict;
use warnings;

use Fuzz::Value qw(quoted);
use Fuzz::Table qw(visible image);

# Copies of tables at moments: each value as text under the number of its column, so that
# they outlive DDL.
our $tables = 'CREATE TABLE oracle.copy (moment text, relation text, content jsonb);
CREATE INDEX ON oracle.copy (moment, relation);';

# Statements that copy tables as the transaction sees them.
sub copy_sql
{
	my ($moment, @tables) = @_;

	return join '', map {
		my @columns = @{ $_->{columns} };
		my $numbers = quoted('{' . join(',', map { $_->{number} } @columns) . '}');
		"INSERT INTO oracle.copy SELECT '$moment', '$_->{name}', jsonb_object($numbers, " . image('t', @columns)
		  . ") FROM fuzz.$_->{name} AS t;\n"
	} @tables;
}

# Two queries that should have the same rows, so many times each.
sub compare_sql
{
	my ($expected, $found) = @_;

	return "WITH expected (image) AS MATERIALIZED ($expected), found (image) AS MATERIALIZED ($found)\n"
	  . "(SELECT E'\\nmissing', image FROM (TABLE expected EXCEPT ALL TABLE found) AS missing LIMIT 3)\nUNION ALL\n"
	  . "(SELECT E'\\nsurplus', image FROM (TABLE found EXCEPT ALL TABLE expected) AS surplus LIMIT 3);";
}

# The copy as rows of the present shape: columns added since are NULL, changed types go through text.
sub copied
{
	my ($table, $moment, @columns) = @_;
	my $fields = join ', ', map { "((content ->> '$_->{number}')::$_->{type})::text" } @columns;

	return "SELECT ARRAY[$fields] FROM oracle.copy WHERE moment = '$moment' AND relation = '$table->{name}'";
}

sub as_of
{
	my ($session, $table, $moment, $when) = @_;
	my @columns = visible($table);

	return $session->ask(compare_sql(copied($table, $moment, @columns),
		'SELECT ' . image('t', @columns) . " FROM architect.audit_as_of(NULL::fuzz.$table->{name}, $when) AS t"));
}

# The live tables against a copy; masked and excluded columns may differ.
sub unchanged
{
	my ($session, $moment, @tables) = @_;

	return join '', map {
		my @columns = visible($_);
		my $problem = $session->ask(compare_sql(copied($_, $moment, @columns), 'SELECT ' . image('t', @columns) . " FROM fuzz.$_->{name} AS t"));
		$problem eq '' ? '' : "$_->{name}: $problem\n"
	} @tables;
}

# The net changes between two times of a table whose keys do not change.
sub changes
{
	my ($session, $table, $since, $until) = @_;
	my ($key) = Fuzz::Table::key_columns($table);
	my ($before, $after) = map {
		"(SELECT content ->> '$key->{number}' AS id, content FROM oracle.copy WHERE moment = '$_->{name}' AND relation = '$table->{name}')"
	} $since, $until;

	return $session->ask(compare_sql(
		"SELECT ARRAY[id, CASE WHEN before.id IS NULL THEN 'INSERT' WHEN after.id IS NULL THEN 'DELETE' ELSE 'UPDATE' END]
FROM $before AS before FULL JOIN $after AS after USING (id) WHERE before.content IS DISTINCT FROM after.content",
		"SELECT ARRAY[record_id, operation] FROM architect.audit_changes('fuzz.$table->{name}', '$since->{at}', '$until->{at}')"));
}

sub verify
{
	my ($session, @tables) = @_;
	my $sql = join "\nUNION ALL ", map {
		"(SELECT '$_->{name}', problem, record_id, logged, live FROM architect.audit_verify('fuzz.$_->{name}') LIMIT 3)"
	} @tables;

	return $session->ask("$sql;");
}

# Records in the table, by their key as text, with the image that the log has of them.
sub record_of
{
	my ($table, $alias) = @_;
	my @key = Fuzz::Table::key_columns($table);

	return "(to_jsonb($alias) ->> '$key[0]{name}')" if @key == 1 && $key[0]{type} ne 'fuzz.pair';
	return "($alias.$key[0]{name}::text)" if @key == 1;
	return 'jsonb_build_array(' . join(', ', map { "$alias.$_->{name}::text" } @key) . ')::text';
}

# The value of a column in a record, which has the names of its time.
sub in_record
{
	my ($column) = @_;
	return "(SELECT record ->> name FROM unnest('{" . join(',', @{ $column->{names} }) . "}'::text[]) AS name WHERE record ? name)";
}

sub id_in_record
{
	my ($table) = @_;
	my @key = map { in_record($_) } Fuzz::Table::key_columns($table);

	return @key == 1 ? $key[0] : 'jsonb_build_array(' . join(', ', @key) . ')::text';
}

# The last version of some live records is the live row, and their versions are complete: but
# what a column held that was added with a default and dropped, and what happened in a gap,
# nobody knows.  A JSON null looks
# like NULL here, and a column added since the last change is not in the record.  Versions of
# a record that had this key once and has another now are passed over.
sub history
{
	my ($session, $table) = @_;
	my @columns = visible($table);
	my $id = record_of($table, 't');
	my $recorded = id_in_record($table);
	my $complete = $table->{incomplete} ? 'true' : 'complete';
	my $gaps = "SELECT FROM architect.audit_log WHERE operation = 'GAP' AND table_name = '$table->{name}'";
	my $live = join ', ', map {
		my $text = $_->{type} eq 'jsonb' ? "nullif(t.$_->{name}, 'null') #>> '{}'" : "t.$_->{name}::text";
		$_->{added} ? "CASE WHEN record ?| '{" . join(',', @{ $_->{names} }) . "}' THEN $text END" : $text
	} @columns;
	my $last = join ', ', map { $_->{type} eq 'jsonb' ? in_record($_) : '(' . in_record($_) . "::$_->{type})::text" } @columns;

	return $session->ask(<<"SQL");
SELECT E'\\n', id, version, operation, complete, E'\\n   live: ', live, E'\\n  record: ', last
FROM (
    SELECT $id AS id, version, operation, complete, ARRAY[$live] AS live, ARRAY[$last] AS last
    FROM (TABLE fuzz.$table->{name} ORDER BY md5(n::text), $table->{key}[0] LIMIT 5) AS t
    LEFT JOIN LATERAL (
        SELECT version, operation, record, bool_and(complete) OVER () AS complete
        FROM architect.audit_history('fuzz.$table->{name}', $id)
        ORDER BY version DESC LIMIT 1) AS version ON true) AS pair
WHERE live IS DISTINCT FROM last OR ($complete IS NOT TRUE AND NOT EXISTS ($gaps))
LIMIT 3
SQL
}

1;
