# A psql that stays open.  What it is asked, and what it answered, goes to a transcript.

package Fuzz::Session;

use strict;
use warnings;

use IPC::Open3;

my $questions = 0;

# name, connection (a conninfo string), transcript (a file handle)
sub new
{
	my ($class, %self) = @_;
	my $self = bless {%self}, $class;

	$self->{pid} = open3($self->{in}, $self->{out}, undef,
		'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never', '-d', $self->{connection});
	binmode $self->{$_}, ':encoding(UTF-8)' foreach qw(in out);
	$self->{in}->autoflush(1);
	$self->ask("SET statement_timeout = '120s'; SET lock_timeout = '60s'; SET client_min_messages = warning;");
	return $self;
}

# Sends statements without waiting for the answer.
sub send
{
	my ($self, $sql) = @_;

	$self->{question} = ++$questions;
	$sql .= ';' if $sql !~ /(?:;|^\\\.)\s*\z/m;
	print { $self->{transcript} } "-- $self->{name}\n$sql\n";
	print { $self->{in} } "$sql\n\\echo answered $self->{question}\n";
}

# Waits for the answer and returns it; the SQLSTATEs of what failed are in errors then.
sub answer
{
	my ($self) = @_;
	my $text = '';

	$self->{errors} = [];
	while (1)
	{
		my $line = readline $self->{out};
		die "session $self->{name} ended: $text\n" if !defined $line;
		last if $line eq "answered $self->{question}\n";
		$text .= $line;
		push @{ $self->{errors} }, $1 if $line =~ /^(?:ERROR|FATAL|PANIC):  (\w{5}):/;
	}
	chomp $text;
	print { $self->{transcript} } $text =~ s/^/--> /gmr . "\n" if $text ne '' && @{ $self->{errors} };
	$self->{aborted} = $self->{errors}[0] if @{ $self->{errors} };
	return $text;
}

sub ask
{
	my ($self, $sql) = @_;

	$self->send($sql);
	return $self->answer;
}

# For what must not fail.
sub value
{
	my ($self, $sql) = @_;
	my $text = $self->ask($sql);

	die "$text\nin: " . substr($sql, 0, 400) . "\n" if @{ $self->{errors} };
	return $text;
}

sub close
{
	my ($self) = @_;

	close $self->{in};
	waitpid $self->{pid}, 0;
}

1;
