# Going back: what is undone and restored is as it was; what bypassed the triggers is found.

package Fuzz::Back;

use strict;
use warnings;

use Fuzz::Value qw(below one_of chance some_of);
use Fuzz::Table qw(key_columns key_tuple);
use Fuzz::Change qw(random_change contended);
use Fuzz::Shape qw(harmless_shape);
use Fuzz::Check;

# Statements in one transaction of this session; returns its number, or nothing if it failed or
# changed nothing.
sub transaction
{
	my ($run, $session, @statements) = @_;

	$session->{aborted} = 0;
	$run->change($session, 'BEGIN', @statements);
	my $number = $session->{aborted} ? undef : $session->value('SELECT pg_current_xact_id()');
	$run->change($session, 'COMMIT');
	return undef if $session->{aborted};
	return $session->value("SELECT transaction_id FROM architect.audit_log WHERE transaction_id = '$number' LIMIT 1") || undef;
}

# The statements of a transaction that can be undone, as each of its rows is in the log.
sub reversible
{
	my ($run) = @_;
	my @tables = grep { !$_->{no_values} } @{ $run->{tables} };
	my $class = below(contended);

	return map {
		my $table = one_of(@tables);
		$table->{may_truncate} && !$table->{forgets} && chance(0.2)
		  ? "TRUNCATE fuzz.$table->{name}"
		  : random_change($table, $class)
	} 1 .. 1 + below(4);
}

sub copy
{
	my ($run, $moment) = @_;
	$run->{checker}->value("DELETE FROM oracle.copy WHERE moment = '$moment';\n" . Fuzz::Check::copy_sql($moment, @{ $run->{tables} }));
}

sub undone
{
	my ($run, $number, $moment) = @_;
	my $session = $run->{checker};
	my $undo = transaction($run, $session, "SELECT FROM architect.audit_undo('$number')");
	my $problem = $session->{aborted} ? "failed with $session->{aborted}" : Fuzz::Check::unchanged($session, $moment, @{ $run->{tables} });
	$run->see('undo brings back what was', $problem && "transaction $number: $problem");
	return $undo;
}

# A transaction is undone, perhaps after columns got other names or types, then the undoing.
sub undo
{
	my ($run) = @_;
	my $session = $run->{workers}[ below(3) ];

	copy($run, 'before');
	my $number = transaction($run, $session, reversible($run)) // return;
	$run->change($session, harmless_shape(one_of(@{ $run->{tables} }))) foreach 1 .. one_of(0, 0, 2);
	copy($run, 'after');
	my $undo = undone($run, $number, 'before') // return;
	undone($run, $undo, 'after') if chance(0.7);
}

# Transactions of any time: where the plan has no conflict undo works, and else it does nothing.
sub plan
{
	my ($run) = @_;
	my $session = $run->{checker};
	my @numbers = split /\n/, $session->value(<<"SQL");
SELECT transaction_id FROM architect.audit_log
WHERE table_name NOT IN ('keyed', 'events') AND operation IN ('INSERT', 'UPDATE', 'DELETE')
GROUP BY transaction_id ORDER BY md5(min(record_id) || min(id)), transaction_id LIMIT 5
SQL

	foreach my $number (@numbers)
	{
		my $conflicts = $session->ask("SELECT count(conflict) FROM architect.audit_undo_plan('$number')");
		my $answer = $session->ask("BEGIN;\nSELECT FROM architect.audit_undo('$number');\nROLLBACK");
		my $problem = ($conflicts ne '0') == (@{ $session->{errors} } > 0) ? '' : "transaction $number: $conflicts conflicts\n$answer";
		$run->see('undo works where the plan has no conflict', $problem);
	}
}

# A live record goes back to an earlier version and comes back to the last.  Foreign keys may be
# in the way, and a column GENERATED ALWAYS AS IDENTITY of a row that was deleted meanwhile.
sub restore
{
	my ($run) = @_;
	my $session = $run->{checker};
	my $table = one_of(grep { !$_->{no_values} && $_->{name} !~ /^(?:parent|child|orphan|swapped|moments)$/ } @{ $run->{tables} });
	my $id = Fuzz::Check::record_of($table, 't');
	my $recorded = Fuzz::Check::id_in_record($table);
	my $versions = $session->value(<<"SQL");
SELECT quote_literal(record_id), max(version), min(version)
FROM (SELECT record_id FROM architect.audit_log WHERE table_name = '$table->{name}'
        AND record_id IN (SELECT $id FROM fuzz.$table->{name} AS t)
      GROUP BY record_id HAVING count(*) > 3 ORDER BY md5(record_id || max(id)), record_id LIMIT 1) AS live,
    LATERAL (SELECT version FROM architect.audit_history('fuzz.$table->{name}', record_id)
             WHERE complete AND $recorded = record_id) AS version
GROUP BY record_id
SQL
	return if $versions eq '';

	my ($record, $last, $first) = split /\|/, $versions;
	copy($run, 'before');
	my $done = transaction($run, $session, "SELECT FROM architect.audit_restore('fuzz.$table->{name}', $record, $first)")
	  && transaction($run, $session, "SELECT FROM architect.audit_restore('fuzz.$table->{name}', $record, $last)");
	$run->see('restore there and back changes nothing', Fuzz::Check::unchanged($session, 'before', @{ $run->{tables} })) if $done;
}

# Rows that are changed, deleted and inserted unseen are those that verify names, and no others.
sub bypass
{
	my ($run, $table) = @_;
	my $admin = $run->{admin};
	my $key = join ', ', @{ $table->{key} };
	my $first = "(SELECT $key FROM fuzz.$table->{name} WHERE n IS NOT NULL ORDER BY $key";
	my $new = '(' . key_tuple($table, 2000) . ')';
	my $overriding = (grep { $_->{identity} } key_columns($table)) ? 'OVERRIDING SYSTEM VALUE' : '';

	my @records = split /\n/, $admin->value(
		'SELECT ' . Fuzz::Check::record_of($table, 't') . " FROM fuzz.$table->{name} AS t WHERE n IS NOT NULL ORDER BY ROW($key) LIMIT 2");
	return if @records < 2;
	$admin->value(<<"SQL");
SET session_replication_role = replica;
UPDATE fuzz.$table->{name} SET n = n % 1000 + 1001 WHERE ($key) = $first LIMIT 1);
DELETE FROM fuzz.$table->{name} WHERE ($key) = $first OFFSET 1 LIMIT 1);
INSERT INTO fuzz.$table->{name} ($key) $overriding VALUES $new;
RESET session_replication_role;
SQL
	push @records, $admin->value('SELECT ' . Fuzz::Check::record_of($table, 't') . " FROM fuzz.$table->{name} AS t WHERE ($key) = $new");
	my $found = $run->{checker}->ask("SELECT DISTINCT record_id FROM architect.audit_verify('fuzz.$table->{name}')");
	my ($expected, $seen) = map { join "\n", sort @$_ } \@records, [ split /\n/, $found ];
	$run->see('verify names what bypassed the triggers', $seen eq $expected ? '' : "$table->{name}: expected\n$expected\nseen\n$seen");
}

# The seals hold, also after values were erased, and name rows that were tampered with.
sub evidence
{
	my ($run) = @_;
	my $admin = $run->{admin};

	$run->seal;
	erase($run);
	$run->see('the seals verify', $admin->ask("SELECT * FROM architect.audit_verify_seals('$_') LIMIT 5"))
	  foreach some_of(3, @{ $run->{digests} });
	my @rows = split /\n/, $admin->value(
		"SELECT id FROM architect.audit_log WHERE id <= $run->{last_id} ORDER BY md5(id::text || '$run->{seed}') LIMIT 3");
	my $found = $admin->ask(<<"SQL");
BEGIN;
UPDATE architect.audit_log SET new_values = new_values || '{"more": 1}', changed_by = changed_by || 'x'
WHERE id IN (@{[ join ', ', @rows ]});
SELECT DISTINCT log_id FROM architect.audit_verify_seals() ORDER BY log_id;
ROLLBACK;
SQL
	my $expected = join "\n", sort { $a <=> $b } @rows;
	$run->see('the seals name what was changed', $found eq $expected ? '' : "expected\n$expected\nseen\n$found");
}

# Erases values of a few records of each table.
sub erase
{
	my ($run) = @_;

	foreach my $table (grep { !$_->{no_values} } @{ $run->{tables} })
	{
		my ($column) = some_of(1, grep { !$_->{hidden} } Fuzz::Table::writable($table));
		$run->change($run->{checker}, 'SELECT count(architect.audit_erase(' . "'fuzz.$table->{name}', "
			  . Fuzz::Check::record_of($table, 't') . ", '{$column->{name}}')) FROM (SELECT * FROM fuzz.$table->{name} LIMIT 3) AS t");
	}
}

1;
