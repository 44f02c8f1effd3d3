# A short run of tools/fuzz-audit: whatever is done to audited tables, the log, what is read
# from it and what logical decoding saw agree.  FUZZ_SEED and FUZZ_CHANGES ask for another run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Fuzz::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "max_prepared_transactions = 10\ndeadlock_timeout = 100ms\nautovacuum = off");
$node->start;

Fuzz::Run->new(
	seed => $ENV{FUZZ_SEED} // 1,
	changes => $ENV{FUZZ_CHANGES} // 3000,
	connection => $node->connstr('postgres'),
	transcript => "$PostgreSQL::Test::Utils::log_path/012_audit_fuzz.sql")->run;

$node->stop;
done_testing();
