# A run of the fuzz test: rounds of random changes by interleaved transactions, each round
# followed by a quiet moment in which everything is compared.

package Fuzz::Run;

use strict;
use warnings;

use IO::Handle;
use Test::More;
use Fuzz::Session;
use Fuzz::Value qw(below one_of chance some_of);
use Fuzz::Table qw(make_tables create_sql shape_of set_shape signature);
use Fuzz::Change qw(random_change contended);
use Fuzz::Shape qw(random_shape);
use Fuzz::Back;
use Fuzz::Check;
use Fuzz::Decode;

# What changes may fail with: unique and foreign keys, serialization, deadlock, and what comes after.
my %expected = map { $_ => 1 } qw(23503 23505 40001 40P01 25P02);

# Settings that the log must not depend on.
my @settings = (
	"SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET search_path = fuzz;",
	"SET TimeZone = 'America/St_Johns'; SET DateStyle = 'SQL, MDY'; SET extra_float_digits = -5; SET bytea_output = 'escape';",
	"SET TimeZone = 'UTC'; SET IntervalStyle = 'sql_standard'; SET quote_all_identifiers = on;");
my $pinned = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET search_path = pg_catalog;";

# seed, changes (how many at least), connection (a conninfo string), transcript (a file)
sub new
{
	my ($class, %self) = @_;
	my $self = bless { done => 0, problems => 0, marks => [], moments => 0, last_id => 0, checked => {}, %self }, $class;

	srand($self->{seed});
	open $self->{out}, '>:encoding(UTF-8)', $self->{transcript} or die "$self->{transcript}: $!\n";
	$self->{out}->autoflush(1);
	$self->{tables} = [ make_tables() ];
	return $self;
}

sub connect
{
	my ($self, $name, $user) = @_;
	my $connection = $self->{connection} . ($user ? " user=$user" : '');
	return Fuzz::Session->new(name => $name, connection => $connection, transcript => $self->{out});
}

sub start
{
	my ($self) = @_;
	my $admin = $self->{admin} = $self->connect('admin');

	$admin->value(<<"SQL");
$pinned
CREATE ROLE fuzz_owner LOGIN;
CREATE EXTENSION pg_architect;
CREATE SCHEMA fuzz AUTHORIZATION fuzz_owner;
CREATE SCHEMA oracle;
GRANT USAGE ON SCHEMA oracle TO fuzz_owner;
$Fuzz::Check::tables
GRANT ALL ON ALL TABLES IN SCHEMA oracle TO fuzz_owner;
SQL
	$self->{checker} = $self->connect('checker', 'fuzz_owner');
	$self->{checker}->value($pinned);
	$self->{checker}->value(join '', $Fuzz::Table::setup, map { create_sql($_) } $self->tables_in_order);
	$self->{decodes} = Fuzz::Decode::start($admin);
	$self->{workers} = [ map { $self->connect("worker $_", 'fuzz_owner') } 1 .. 3 ];
	$self->{workers}[$_]->value($settings[$_]) foreach 0 .. 2;
}

# Those that others refer to first.
sub tables_in_order
{
	my ($self) = @_;
	return sort { ($b->{name} eq 'parent') <=> ($a->{name} eq 'parent') } @{ $self->{tables} };
}

# Reports what a check found wrong.
sub see
{
	my ($self, $what, $problem) = @_;

	$self->{checked}{$what} //= [ 0, 0 ];
	$self->{checked}{$what}[0]++;
	return if $problem eq '';
	$self->{checked}{$what}[1]++;
	$self->{problems}++;
	$problem = substr $problem =~ s/^(.{400}).+/$1.../mgr, 0, 4000;
	utf8::encode($problem);
	diag("$what, after $self->{done} changes with seed $self->{seed}:\n$problem");
}

# ---------------------------------------------------------------- transactions

# Sends statements of one session, each when the one before has not failed.
sub change
{
	my ($self, $session, @statements) = @_;

	foreach my $statement (@statements)
	{
		my $answer = $session->ask($statement);
		my @unexpected = grep { !$expected{$_} } @{ $session->{errors} };
		$self->see('statements fail only where they may', @unexpected ? "$statement\n$answer" : '');
		last if @{ $session->{errors} };
	}
}

sub random_table { return one_of(@{ $_[0]{tables} }) }

# A COPY that fails before it reads leaves its data to be taken for statements.
sub random_changes
{
	my ($self, $session, $class) = @_;
	my @statements;

	do { @statements = random_change($self->random_table, $class) }
	  while ($session->{serializable} && grep { /^COPY/ } @statements);
	return @statements;
}

sub begin
{
	my ($self, $session) = @_;
	my $isolation = one_of('READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');

	$session->{class} = splice @{ $self->{free} }, below(scalar @{ $self->{free} }), 1;
	$session->{serializable} = $isolation eq 'SERIALIZABLE';
	$session->{savepoints} = [];
	$session->{aborted} = 0;
	$self->change($session, "BEGIN ISOLATION LEVEL $isolation;");
	$self->change($session, "SELECT architect.audit_set_actor('user " . below(5) . "', '{\"fuzz\": true}');") if chance(0.2);
}

# Commits, rolls back, or prepares; then the class is free again, or when the prepared one ends.
sub end
{
	my ($self, $session) = @_;
	my $class = delete $session->{class};

	if (!$session->{aborted} && chance(0.15) && @{ $self->{prepared} } < 2)
	{
		my $name = 'fuzz ' . ++$self->{names};
		$self->change($session, "PREPARE TRANSACTION '$name';");
		return push @{ $self->{prepared} }, [ $name, $class ] if !@{ $session->{errors} };
	}
	else
	{
		$self->change($session, chance(0.85) ? 'COMMIT;' : 'ROLLBACK;');
	}
	push @{ $self->{free} }, $class;
}

sub end_prepared
{
	my ($self, $session) = @_;
	my $prepared = shift @{ $self->{prepared} } or return;

	$self->change($session, (chance(0.8) ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$prepared->[0]';");
	push @{ $self->{free} }, $prepared->[1];
}

# One step of a session, in its transaction or to begin one.
sub step
{
	my ($self, $session) = @_;
	my $savepoints = $session->{savepoints};

	if (!defined $session->{class})
	{
		return $self->end_prepared($session) if chance(0.2);
		return $self->begin($session) if chance(0.7);
		$session->{serializable} = 0;
		return $self->change($session, $self->random_changes($session, one_of(@{ $self->{free} })));
	}
	if ($session->{aborted} && @$savepoints && chance(0.8))
	{
		$self->change($session, "ROLLBACK TO $savepoints->[-1];");
		$session->{aborted} = 0;
		return;
	}
	return $self->end($session) if $session->{aborted} || chance(0.1);
	if (chance(0.08))
	{
		push @$savepoints, 's' . ++$self->{names};
		return $self->change($session, "SAVEPOINT $savepoints->[-1];");
	}
	if (@$savepoints && chance(0.15))
	{
		return $self->change($session, "ROLLBACK TO $savepoints->[-1];") if chance(0.6);
		return $self->change($session, 'RELEASE ' . pop(@$savepoints) . ';');
	}
	$self->change($session, $self->random_changes($session, $session->{class}));
}

# Transactions of three sessions, interleaved; then all of them end.
sub interleave
{
	my ($self, $steps) = @_;

	$self->{free} = [ 0 .. contended - 1 ];
	$self->{prepared} = [];
	foreach (1 .. $steps)
	{
		$self->step(one_of(@{ $self->{workers} }));
		$self->mark if chance(0.5 / $steps);
		$self->seal if chance(0.3 / $steps);
	}
	foreach my $session (@{ $self->{workers} })
	{
		$self->end($session) if defined $session->{class};
	}
	$self->end_prepared($self->{workers}[0]) while @{ $self->{prepared} };
}

# All sessions change the same rows at once, in an order of the server's own.
sub contend
{
	my ($self) = @_;
	my @tables = some_of(3, @{ $self->{tables} });

	foreach my $session (@{ $self->{workers} })
	{
		$session->send(join "\n", map {
			my @changes = map { random_change($_, contended) } some_of(2, @tables);
			@changes = () if grep { /^COPY/ } @changes;
			('BEGIN;', @changes, 'COMMIT;')
		} 1 .. 8);
	}
	foreach my $session (@{ $self->{workers} })
	{
		my $answer = $session->answer;
		my @unexpected = grep { !$expected{$_} } @{ $session->{errors} };
		$self->see('statements fail only where they may', @unexpected ? $answer : '');
	}
}

# A transaction while nobody else has one: it may change tables, and be rolled back.
sub alone
{
	my ($self) = @_;
	my $session = $self->{workers}[0];
	my @shapes = map { shape_of($_) } @{ $self->{tables} };
	my @forgetful;

	$session->{serializable} = $session->{aborted} = 0;
	$self->change($session, 'BEGIN;');
	foreach (1 .. 2 + below(5))
	{
		last if $session->{aborted};
		my $table = $self->random_table;
		if ($table->{may_truncate} && chance(0.3))
		{
			$self->change($session, "TRUNCATE fuzz.$table->{name};");
			push @forgetful, $table if $table->{forgets};
		}
		else
		{
			my @statements = chance(0.6) ? random_shape($table) : random_change($table, below(contended));
			my ($moved) = $statements[0] =~ /DETACH PARTITION (\S+);/;
			push @forgetful, $table if $moved && $session->value("SELECT count(*) > 0 FROM $moved") eq 't';
			$self->change($session, @statements);
		}
	}
	my $commit = !$session->{aborted} && chance(0.75);
	$self->change($session, $commit ? 'COMMIT;' : 'ROLLBACK;');
	if ($commit)
	{
		$_->{forgot} = $self->{moments} foreach @forgetful;
	}
	else
	{
		set_shape($self->{tables}[$_], $shapes[$_]) foreach 0 .. $#shapes;
	}
}

# ---------------------------------------------------------------- checks

# Remembers this moment: the tables are copied under the snapshot of the mark, or at a time
# when nothing is going on.
sub mark
{
	my ($self, $quiet) = @_;
	my $checker = $self->{checker};
	my $name = 'moment ' . ++$self->{names};
	my $copy = Fuzz::Check::copy_sql($name, @{ $self->{tables} });
	my %mark = (name => $name, when => "mark => '$name'", place => ++$self->{moments});

	if ($quiet)
	{
		$mark{at} = $checker->value('SELECT clock_timestamp() FROM pg_sleep(0.003)');
		$mark{when} = "at => '$mark{at}'";
		$checker->value("SELECT FROM pg_sleep(0.003);\n$copy");
	}
	else
	{
		$checker->value("BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT FROM architect.audit_mark('$name');\n${copy}COMMIT;");
	}
	$mark{signature}{ $_->{name} } = signature($_) foreach @{ $self->{tables} };
	push @{ $self->{marks} }, \%mark;
	return if @{ $self->{marks} } < 60;

	my ($gone) = splice @{ $self->{marks} }, below(60), 1;
	$checker->value("DELETE FROM oracle.copy WHERE moment = '$gone->{name}'");
}

sub see_as_of
{
	my ($self, $table, $mark) = @_;
	my $problem = Fuzz::Check::as_of($self->{checker}, $table, $mark->{name}, $mark->{when});

	$problem = $problem =~ /^ERROR:  55000/ ? '' : "no error: $problem" if $mark->{place} <= ($table->{forgot} // 0);
	$self->see('as_of equals the copy of then', $problem && "$table->{name}, $mark->{when}: $problem");
}

sub see_marks
{
	my ($self, $marks, $tables) = @_;

	foreach my $mark (some_of($marks, @{ $self->{marks} }))
	{
		$self->see_as_of($_, $mark) foreach some_of($tables, grep { !$_->{no_values} } @{ $self->{tables} });
	}
}

# Between two quiet moments at which the table had the columns that it has now.
sub see_changes
{
	my ($self) = @_;

	foreach my $table (grep { $_->{fixed_key} } @{ $self->{tables} })
	{
		my @moments = grep { $_->{at} && $_->{signature}{ $table->{name} } eq signature($table) } @{ $self->{marks} };
		my ($since, $until) = sort { $a->{place} <=> $b->{place} } some_of(2, @moments);
		$self->see('changes are the difference of two copies', Fuzz::Check::changes($self->{checker}, $table, $since, $until)) if $until;
	}
}

sub seal
{
	my ($self) = @_;
	my $digest = $self->{admin}->value("SELECT FROM architect.audit_seal();\nSELECT architect.audit_digest()");
	push @{ $self->{digests} }, $digest if $digest ne '';
}

# Compares what was logged since the last time with what logical decoding saw.
sub see_log
{
	my ($self) = @_;
	my $admin = $self->{admin};
	my ($count, $last) = split /\|/, $admin->value(
		"SELECT count(*) FILTER (WHERE operation IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')), coalesce(max(id), $self->{last_id})"
		  . " FROM architect.audit_log WHERE id > $self->{last_id}");

	if ($self->{decodes})
	{
		Fuzz::Decode::describe($admin, @{ $self->{tables} });
		$self->see('the log agrees with logical decoding', Fuzz::Decode::differences($admin, $self->{last_id}));
	}
	$self->{done} += $count;
	$self->{last_id} = $last;
}

sub see_verify
{
	my ($self, $tables) = @_;
	$self->see('verify finds nothing', Fuzz::Check::verify($self->{checker}, some_of($tables, @{ $self->{tables} })));
}

sub see_quiet
{
	my ($self) = @_;

	$self->see_log;
	$self->see_verify(5);
	$self->see('the last version is the live row', Fuzz::Check::history($self->{checker}, $_))
	  foreach some_of(2, grep { !$_->{no_values} } @{ $self->{tables} });
	$self->see_marks(1, 4);
	$self->see_changes;
	$self->mark(1) if chance(0.2);
	$self->seal if chance(0.2);
}

# ---------------------------------------------------------------- the run

sub round
{
	my ($self) = @_;

	$self->interleave(30 + below(60));
	$self->contend if chance(0.3);
	$self->alone if chance(0.5);
	Fuzz::Back::undo($self) if chance(0.5);
	Fuzz::Back::plan($self) if chance(0.2);
	Fuzz::Back::restore($self) if chance(0.5);
	$self->see_quiet;
}

# What is true of the whole run; at the end, as it spoils the tables.
sub finish
{
	my ($self) = @_;

	$self->see_marks(20, 8);
	$self->see_verify(scalar @{ $self->{tables} });
	return if $self->{problems};
	Fuzz::Back::bypass($self, $_) foreach grep { !$_->{no_values} } @{ $self->{tables} };
	Fuzz::Back::evidence($self);
}

# For a tool: the arguments are those of new; returns the status to exit with.
sub main
{
	Fuzz::Run->new(@_)->run;
	done_testing();
	return !Test::More->builder->is_passing;
}

sub run
{
	my ($self) = @_;
	my $rounds = 0;

	diag("seed $self->{seed}, replay with: tools/fuzz-audit --seed $self->{seed} --changes $self->{changes}");
	$self->start;
	while ($self->{done} < $self->{changes} && $self->{problems} < 3)
	{
		$self->round;
		note("$self->{done} changes") if ++$rounds % 10 == 0;
	}
	$self->finish;
  SKIP:
	{
		skip 'wal2json is not installed', 1 if !$self->{decodes};
	}
	ok($self->{checked}{$_}[1] == 0, "$_ ($self->{checked}{$_}[0] times)") foreach sort keys %{ $self->{checked} };
	diag("failed with seed $self->{seed}, replay with: tools/fuzz-audit --seed $self->{seed} --changes $self->{changes}")
	  if $self->{problems};
	diag("$self->{done} changes");
	$_->close foreach $self->{admin}, $self->{checker}, @{ $self->{workers} };
}

1;
