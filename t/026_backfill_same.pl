# A backfill comes to what one plain UPDATE comes to, on tables of any shape and with any
# assignment.  BACKFILL_SEED and BACKFILL_CASES ask for another run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use Backfill::Case;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = seed();
my $cases = $ENV{BACKFILL_CASES} // 150;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nlog_min_messages = error");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION pg_architect;\n$Backfill::Case::setup");

my %seen;
foreach my $number (1 .. $cases)
{
	# Each case has a seed of its own, so that it can be made again alone.
	srand($seed * 1000 + $number);
	my $case = Backfill::Case->new;
	my $script = $case->script(($number % 1000) / 1000);
	my ($out, $err) = ('', '');

	$node->psql('postgres', $script, stdout => \$out, stderr => \$err, on_error_stop => 0,
		extra_params => [ '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never' ]);
	my $line = (grep { /^\w{5}\|/ } split /\n/, $out)[-1] // '';
	my $problem = $case->problem($line);
	is($problem, '', "case $number of seed $seed") or diag("$line\n$script\n$err");
	my ($plain, $called, $state) = split /\|/, $line;
	$seen{ $plain eq '00000' ? $state // '' : 'error' }++;
}
note map { "$_: $seen{$_}\n" } sort keys %seen;
cmp_ok($seen{done} // 0, '>', $cases / 2, 'most of them can be done');

$node->stop;
done_testing();
