# A shop that is attacked: its database, and what an attacker's script must not do.
# Tenant 1 is the attacker, tenant 2 the one whose rows say SECRET.

package Attack;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Refused;

our @EXPORT = qw($node $look $parallel open_shop in_database run_script attack attack_as_tenant attack_with_token
  sign claims token forge count_attack is_noticed);

# What every transaction would like to see, and settings under which workers see it.
our $look = 'SELECT count(*), max(secret) FROM shop.account;';
our $parallel = <<'SQL';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SQL

our $node;
my $database;
my $attacks = 0;
my $nonce = 0;
my $key = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';

my $shop = <<'SQL';
CREATE SCHEMA shop AUTHORIZATION shopkeeper;
GRANT USAGE ON SCHEMA shop TO app;
CREATE SCHEMA playground AUTHORIZATION app;
SET SESSION AUTHORIZATION shopkeeper;
CREATE TABLE shop.account (tenant_id integer NOT NULL, id integer, secret text, balance integer, PRIMARY KEY (tenant_id, id));
CREATE INDEX ON shop.account (tenant_id, secret);
CREATE STATISTICS shop.account_statistics (mcv) ON secret, balance FROM shop.account;
CREATE STATISTICS shop.account_expression ON (lower(secret)) FROM shop.account;
CREATE TABLE shop.event (tenant_id integer NOT NULL, day date NOT NULL, secret text, PRIMARY KEY (tenant_id, day))
    PARTITION BY RANGE (day);
CREATE TABLE shop.event_january PARTITION OF shop.event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE shop.event_later PARTITION OF shop.event FOR VALUES FROM ('2026-02-01') TO ('2027-01-01') PARTITION BY HASH (tenant_id);
CREATE TABLE shop.event_later_0 PARTITION OF shop.event_later FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.event_later_1 PARTITION OF shop.event_later FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.paper (tenant_id integer NOT NULL, id integer, secret text, PRIMARY KEY (tenant_id, id));
CREATE TABLE shop.invoice (due date) INHERITS (shop.paper);
CREATE TABLE shop.loose (tenant_id integer NOT NULL, id integer, email text UNIQUE, PRIMARY KEY (tenant_id, id));
CREATE TABLE shop.loose_note (tenant_id integer NOT NULL, email text REFERENCES shop.loose (email) ON DELETE CASCADE ON UPDATE CASCADE, secret text);
CREATE FUNCTION shop.fill() RETURNS void LANGUAGE sql AS $$
    INSERT INTO shop.account
        SELECT CASE WHEN i % 2 = 0 THEN 2 ELSE 1 END, i, CASE WHEN i % 2 = 0 THEN 'the SECRET ' || i % 7 ELSE 'mine' END, 4242 * (1 - i % 2)
        FROM generate_series(1, 2000) AS i;
    INSERT INTO shop.event SELECT 1 + i % 2, date '2026-01-15' + 30 * (i / 2), CASE i % 2 WHEN 0 THEN 'mine' ELSE 'the SECRET' END
        FROM generate_series(0, 19) AS i;
    INSERT INTO shop.paper VALUES (1, 1, 'mine'), (2, 2, 'the SECRET');
    INSERT INTO shop.invoice VALUES (1, 3, 'mine'), (2, 4, 'the SECRET');
    INSERT INTO shop.loose VALUES (1, 1, 'mine-mail'), (2, 2, 'their-mail');
    INSERT INTO shop.loose_note VALUES (1, 'mine-mail', 'mine'), (2, 'their-mail', 'the SECRET');
$$;
SELECT shop.fill();
RESET SESSION AUTHORIZATION;
ANALYZE;
SET SESSION AUTHORIZATION shopkeeper;
SELECT architect.tenant_enable(t) FROM unnest('{shop.account, shop.event, shop.paper, shop.loose, shop.loose_note}'::regclass[]) AS t;
CREATE VIEW shop.proper WITH (security_invoker) AS SELECT * FROM shop.account;
CREATE VIEW shop.summary WITH (security_invoker) AS
    SELECT count(*) AS rows, max(secret) AS greatest FROM shop.account;
CREATE FUNCTION shop.definer() RETURNS SETOF shop.account LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT * FROM shop.account';
CREATE FUNCTION shop.definer_reset() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET app.tenant_id = '' AS
    'SELECT secret FROM shop.account';
CREATE FUNCTION shop.balance_of(integer) RETURNS integer LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN (SELECT sum(balance) FROM shop.account WHERE id = $1); END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO app;
RESET SESSION AUTHORIZATION;
SQL

# All rows of a tenant, as one value.
my $rows = <<'SQL';
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT tenant_id, account::text FROM shop.account UNION ALL
    SELECT tenant_id, event::text FROM shop.event UNION ALL
    SELECT tenant_id, paper::text FROM shop.paper UNION ALL
    SELECT tenant_id, loose::text FROM shop.loose UNION ALL
    SELECT tenant_id, loose_note::text FROM shop.loose_note) AS rows (tenant_id, line)
SQL
my ($theirs, $his) = ("$rows WHERE tenant_id <> 1;", "$rows WHERE tenant_id = 1;");
my $tidy = 'DROP SCHEMA playground CASCADE; CREATE SCHEMA playground AUTHORIZATION app;';
my $refill = <<'SQL';
TRUNCATE shop.account, shop.event, shop.paper, shop.loose, shop.loose_note;
SELECT shop.fill();
SQL
my %untouched;

# Starts a server with the shop in each of these databases; the first is the one to attack.
sub open_shop
{
	my (@databases) = @_;

	$node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	append_to_file($node->data_dir . '/tenant.keys', "k1 $key\n");
	chmod 0600, $node->data_dir . '/tenant.keys';
	$node->append_conf('postgresql.conf', <<CONF);
shared_preload_libraries = 'pg_architect'
architect.tenant_key_file = 'tenant.keys'
max_prepared_transactions = 5
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE shopkeeper LOGIN; CREATE ROLE app LOGIN; CREATE ROLE other_app LOGIN');
	for my $name (@databases)
	{
		$node->safe_psql('postgres', "CREATE DATABASE $name");
		$node->safe_psql($name, "CREATE EXTENSION pg_architect;\n$shop");
		$untouched{$name} = $node->safe_psql($name, "$theirs $his");
	}
	$database = $databases[0];
}

# The database that is attacked from here on.
sub in_database { $database = shift }

# Whether a change of another's row would be noticed.
sub is_noticed
{
	return $node->safe_psql($database, "BEGIN; UPDATE shop.account SET balance = 1 WHERE id = 2; $theirs $his ROLLBACK") ne
	  $untouched{$database};
}

sub count_attack { return $attacks++ }

# Returns all that the server says to a script: first the errors and notices.
sub run_script
{
	my ($database, $sql, %params) = @_;
	my ($out, $err);

	local $ENV{PGOPTIONS} = $params{options} if $params{options};
	psql_if_let(
		$node, $database, "\\set VERBOSITY verbose\n$sql",
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $params{user} // 'app' ]);
	return "$err\n$out";
}

# attack NAME, SQL, meant => REGEX: the script's answer must match, as a sign that it did
# what it was meant to do.
sub attack
{
	my ($name, $sql, %params) = @_;
	my $answer = run_script($database, $sql, %params);
	my $now = $node->safe_psql($database, "$tidy $theirs $his");
	my $is_changed = (split /\n/, $now)[0] ne (split /\n/, $untouched{$database})[0];
	my $unsafe = $answer =~ /SECRET/ ? 'shows a secret' : $is_changed ? 'changed rows' : '';

	$attacks++;
	$unsafe ||= 'did not run as meant' if $answer !~ $params{meant} || $answer =~ /ERROR:  (42883|42601|42P01|3F000)/;
	is($unsafe, '', $name) or diag("$sql\n=> $answer");
	$node->safe_psql($database, $refill) if $now ne $untouched{$database};
}

# The same in a transaction of tenant 1.
sub attack_as_tenant
{
	my ($name, $sql, %params) = @_;
	attack($name, "BEGIN;\nSELECT architect.tenant_set(1);\n$sql\nCOMMIT;", %params);
}

# Signs claims as an application would; any of them can be given.
sub sign
{
	my ($claims, %params) = @_;
	my $signed = join('.', 'v1', $params{key_id} // 'k1', encode_base64url($claims));
	return "$signed." . encode_base64url(hmac_sha256($signed, pack('H*', $params{key} // $key)));
}

sub claims
{
	my (%claims) = (
		db => '"vault"', role => '"app"', tenant => '"1"', exp => time() + 120,
		nonce => '"nonce number ' . ++$nonce . '"', @_);
	return '{' . join(',', map { qq("$_":$claims{$_}) } grep { defined $claims{$_} } sort keys %claims) . '}';
}
sub token { return sign(claims(@_)) }

sub attack_with_token
{
	my ($name, $sql, %params) = @_;
	my $token = token(%{ $params{claims} // {} });
	attack($name, "BEGIN;\nSELECT architect.tenant_login('$token');\n$sql\nCOMMIT;", %params);
}

# forge NAME, TOKEN, REGEX: a token that must be refused for this reason, and so give nothing.
sub forge
{
	my ($name, $token, $reason, %params) = @_;
	$token =~ s/'/''/g;
	my $argument = $params{argument} ? ", '$params{argument}'" : '';
	attack($name, "BEGIN; SELECT architect.tenant_login('$token'$argument); COMMIT; $look", meant => qr/ERROR:  (28000|42501|55000).*$reason.*^0\|$/ms, %params);
}

1;
