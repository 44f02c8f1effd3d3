# Two clients of a PgBouncer in transaction mode, who share a connection: neither sees what
# the other left there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Attack;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

open_shop('shop', 'vault');
$node->safe_psql('postgres', 'ALTER DATABASE vault SET architect.tenant_trusted = on');

my $pool_pid;
END { kill 'INT', $pool_pid if $pool_pid }

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, "$ENV{PATH}:/usr/sbin:/usr/local/sbin");
SKIP:
{
	skip 'there is no PgBouncer here; Debian has it as the package pgbouncer', 1 unless $pgbouncer;

	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = $node->port;
	my $host = $node->host;
	append_to_file("$dir/users", qq("app" ""\n));
	append_to_file("$dir/pgbouncer.ini", <<CONF);
[databases]
shop = host=$host port=$port dbname=shop
vault = host=$host port=$port dbname=vault
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = extra_float_digits,options
logfile = $dir/log
pidfile = $dir/pid
CONF
	system_or_bail($pgbouncer, '-q', '-d', "$dir/pgbouncer.ini");
	for (1 .. 600)
	{
		last if -S "$dir/.s.PGSQL.6432" && -s "$dir/pid";
		select(undef, undef, undef, 0.1);
	}
	$pool_pid = slurp_file("$dir/pid");
	my $client = "psql -X -A -t -q -h $dir -p 6432 -U app";

	# Two clients: the second acts while the first is connected, and idle.
	my $pooled = sub {
		my ($first, $second, $where) = @_;
		my $answer;
		$where //= 'shop';
		append_to_file("$dir/script", '');
		open(my $script, '>', "$dir/script") or die;
		print $script "$first\n\\! $client -d $where -c \"$second\"\n";
		close $script;
		IPC::Run::run([ split(/ /, "$client -d $where -f $dir/script") ], '>', \$answer, '2>&1');
		return $answer;
	};
	my $read = 'SELECT coalesce(max(secret), chr(45)) FROM shop.account';

	like($pooled->("SET app.tenant_id = '2';", $read), qr/SECRET/, 'a tenant set for the session leaks to the next client of the pool');
	$pooled->('RESET app.tenant_id;', 'SELECT 1');
	my $answer;
	my %first = (
		'SET LOCAL' => "BEGIN; SET LOCAL app.tenant_id = '2'; $read \\g /dev/null\nCOMMIT;",
		'tenant_set' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\n$read \\g /dev/null\nCOMMIT;",
		'tenant_set outside of a transaction' => "SELECT architect.tenant_set(2) \\g /dev/null",
		'tenant_set in a transaction that fails' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\nSELECT 1/0; ROLLBACK;",
		'tenant_set and COMMIT AND CHAIN' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\nCOMMIT AND CHAIN; COMMIT;",
	);
	for my $way (sort keys %first)
	{
		$answer = $pooled->($first{$way}, $read);
		count_attack();
		ok($answer !~ /SECRET/ && $answer =~ /^-$/m, "through PgBouncer: $way") or diag($answer);
	}
	$pooled->("BEGIN; SELECT architect.tenant_set(2);\n\\q", '');
	$answer = $pooled->('SELECT 1 \g /dev/null', $read);
	count_attack();
	ok($answer !~ /SECRET/ && $answer =~ /^-$/m, 'through PgBouncer: a client that is gone amid its transaction') or diag($answer);

	my $token = token(tenant => '"2"');
	$answer = $pooled->("BEGIN; SELECT architect.tenant_login('$token') \\g /dev/null\n$read \\g /dev/null\nCOMMIT;", $read, 'vault');
	count_attack();
	ok($answer !~ /SECRET/ && $answer =~ /^-$/m, 'through PgBouncer: tenant_login') or diag($answer);
	$answer = $pooled->("BEGIN; $read \\g /dev/null\nCOMMIT;", "SELECT architect.tenant_login('$token')", 'vault');
	count_attack();
	like($answer, qr/ERROR/, 'through PgBouncer: a token replayed by another client');

	# Many clients take turns on one connection, each transaction as somebody else.
	append_to_file("$dir/turns", <<'SQL');
\set me random(1, 3)
BEGIN;
SELECT architect.tenant_set(:me);
SELECT 1 / (count(*) FILTER (WHERE tenant_id <> :me) = 0)::integer FROM shop.account;
UPDATE shop.account SET balance = balance WHERE id = 2 AND :me = 3;
COMMIT;
SELECT 1 / (count(*) = 0)::integer FROM shop.account;
SQL
	IPC::Run::run([ split(/ /, "pgbench -n -c 8 -j 2 -t 25 -h $dir -p 6432 -U app -f $dir/turns shop") ], '>', \$answer, '2>&1');
	count_attack();
	like($answer, qr{processed: 200/200\n(?!.*(error|aborted))}, 'through PgBouncer: eight clients take turns');
}

$node->stop;
done_testing();
