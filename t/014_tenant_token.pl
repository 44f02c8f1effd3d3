# In trusted mode a transaction is the tenant that a signed token says, once, and
# there is no other way to become one.

use strict;
use warnings;

use Config;
use Digest::SHA qw(hmac_sha256);
use File::Temp;
use FindBin;
use lib $FindBin::RealBin;
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Refused;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, extra => [ '--no-locale', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_architect'
architect.tenant_key_file = 'tenant.keys'
architect.tenant_trusted = on
log_min_error_statement = log
CONF
my $key_file = $node->data_dir . '/tenant.keys';
my %keys = map { $_ => join('', map { chr int rand 256 } 1 .. 32) } qw(k1 k2 k3);

# Writes the file of keys, with those named and more lines.
sub write_keys
{
	my ($names, @lines) = @_;

	unlink $key_file;
	open my $file, '>', $key_file or die $!;
	chmod 0600, $file;
	print $file "# keys of the shop\n\n", map { "$_ " . unpack('H*', $keys{$_}) . "\n" } @$names;
	print $file @lines;
	close $file;
}

# Signs these bytes as claims, with the key of that name, under the id.
sub sign
{
	my ($claims, $key, $id) = @_;
	my $signed = join '.', 'v1', $id // $key, encode_base64url($claims);
	return "$signed." . encode_base64url(hmac_sha256($signed, $keys{$key}));
}

my $nonces = 0;

# The JSON of claims that are good but for what is given; undef leaves a claim out.
sub claims
{
	my %claims = (
		db => '"postgres"', role => '"app"', tenant => '"acme"',
		exp => time + 60, nonce => '"nonce number ' . ++$nonces . '"', @_);
	return '{' . join(', ', map { "\"$_\": $claims{$_}" } grep { defined $claims{$_} } sort keys %claims) . '}';
}

sub token { return sign(claims(@_), 'k1'); }

sub run
{
	my ($sql, %params) = @_;
	my ($out, $err);

	psql_if_let($node, $params{database} // 'postgres', "\\set VERBOSITY terse\n$sql",
		extra_params => [ '-U', $params{user} // 'app' ],
		stdout => \$out, stderr => \$err, on_error_stop => 0, %{ $params{more} // {} });
	$err =~ s/^psql:<stdin>:\d+: //mg;
	return join "\n", grep { $_ ne '' } $out, $err;
}

# What a login comes to: the tenant, or the error and its detail.
sub login
{
	my ($token, $tenant, @more) = @_;
	$tenant = defined $tenant ? "'$tenant'" : 'NULL';
	return run("SELECT try('$token', $tenant)", @more);
}

my $invalid = '28000';
write_keys([ 'k1', 'k2' ]);
$node->start;
$node->safe_psql('postgres', $_) foreach 'CREATE DATABASE second', 'CREATE DATABASE late';
my $tables = <<'SQL';
CREATE EXTENSION pg_architect;
CREATE FUNCTION try(token text, tenant text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    RETURN architect.tenant_login(token, tenant);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', SQLSTATE, detail);
END $$;
CREATE TABLE item (tenant_id text, what text);
INSERT INTO item VALUES ('acme', 'anvil'), ('rival', 'rocket');
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON item USING (tenant_id = architect.tenant_text());
GRANT SELECT ON item TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
SQL
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; GRANT clerk TO app;' . $tables);
$node->safe_psql('second', $tables);

# A good token is good once, for one transaction.
my $token = token();
is(run("BEGIN; SELECT architect.tenant_login('$token'); TABLE item; COMMIT; TABLE item"), "acme\nacme|anvil",
	'a token opens the rows of its tenant for its transaction');
like(login($token), qr/^$invalid It has been used before/, 'and is good once');
is(login($token, undef, user => 'clerk'), "$invalid It is for another role than \"clerk\".", 'for its role');
$token = token();
is(run("BEGIN; SELECT architect.tenant_login('$token'); ROLLBACK;"), 'acme', 'a token is used');
like(login($token), qr/^$invalid It has been used before/, 'a rollback does not bring it back');
$token = token();
run("SELECT 1 / length(replace(architect.tenant_login('$token'), 'acme', ''))");
like(login($token), qr/^$invalid It has been used before/, 'nor does an error');
$token = token();
is(run("SET architect.tenant_switch = on; SELECT try('$token', NULL); SELECT try('$token', NULL);"),
	"acme\n$invalid It has been used before.", 'nor the same session');

# Several tenants: the argument chooses, tenant_set may choose again.
my $several = '["acme", "rival"]';
is(login(token(tenant => $several)), 'acme', 'of several tenants the first is taken');
is(login(token(tenant => $several), 'rival'), 'rival', 'or that which is asked for');
$token = token(tenant => $several);
is(login($token, 'third'), '42501 The token does not name it.', 'but not one that the token does not name');
is(login($token), 'acme', 'which leaves the token unused');
is(login(token(), 'rival'), '42501 The token does not name it.', 'also where it names one');
$token = token(tenant => $several);
is( run("SET architect.tenant_switch = on; BEGIN; SELECT architect.tenant_login('$token');
	SELECT architect.tenant_set('rival'); TABLE item; SELECT architect.tenant_set('third')"),
	"acme\nrival\nrival|rocket\nERROR:  permission denied for tenant \"third\"",
	'tenant_set chooses among those of the token');
$token = token(tenant => $several);
like( run("BEGIN; SELECT architect.tenant_login('$token'); SELECT architect.tenant_set('rival');"),
	qr/another tenant already/, 'where the transaction may switch');
my ($one, $other) = (token(), token(tenant => '"rival"'));
like( run("BEGIN; SELECT architect.tenant_login('$one'); SELECT architect.tenant_login('$other'); TABLE item"),
	qr/^acme\nERROR:  this transaction has another tenant already\nERROR:  current transaction is aborted/,
	'a second token does not change the tenant');
$token = token();
is( run("BEGIN; SAVEPOINT a; SELECT architect.tenant_login('$token'); ROLLBACK TO a; TABLE item; ROLLBACK;"),
	'acme', 'a savepoint takes the tenant back');

# Times.
is(login(token(exp => time - 1)), "$invalid It has expired.", 'expired');
is(login(token(exp => time)), "$invalid It has expired.", 'expires now');
is(login(token(exp => 0)), "$invalid It has expired.", 'expired long ago');
like(login(token(exp => time + 3600)), qr/^$invalid It expires in more than 300 seconds/, 'expires too far away');
like(login(token(exp => '9' x 15)), qr/^$invalid It expires in more than/, 'never expires');
foreach my $exp ('9' x 16, '-1', '1e9', time + 60 . '.5', '"' . (time + 60) . '"', 'true', '[' . (time + 60) . ']', 'null')
{
	like(login(token(exp => $exp)), qr/^$invalid (Claim "exp"|Its claims are not JSON)/, "exp is $exp");
}
$token = token(exp => time + 2);
sleep 3;
is(login($token), "$invalid It has expired.", 'a token that was good a moment ago');

# Others' tokens.
is(login(token(db => '"second"')), "$invalid It is for another database.", 'another database');
is(login(token(db => '"second"'), undef, database => 'second'), 'acme', 'which takes it');
is(login(token(role => '"clerk"')), "$invalid It is for another role than \"app\".", 'another role');
is(run("SET ROLE clerk; SELECT try('" . token(role => '"clerk"') . "', NULL)"),
	"$invalid It is for another role than \"app\".", 'SET ROLE does not make it fit');
is(login(token(role => '"postgres"')), "$invalid It is for another role than \"app\".", 'of the superuser');
is(login(token(role => '"APP"')), "$invalid It is for another role than \"app\".", 'names are names to the letter');
is(login(sign(claims(), 'k3')), "$invalid Its key id is not known.", 'unknown key id');
is(login(sign(claims(), 'k3', 'k1')), "$invalid Its signature is wrong.", 'signed with an unknown key');
is(login(sign(claims(), 'k2', 'k1')), "$invalid Its signature is wrong.", 'signed with the key of another id');
is(login(sign(claims(), 'k1', '')), "$invalid Its key id is not known.", 'no key id');
is(login(sign(claims(), 'k1', 'k' x 100)), "$invalid Its key id is not known.", 'a long key id');

# Claims are a flat object of five, each there once.
my %odd = (
	'a claim twice' => '{"tenant": "rival", ' . substr(claims(), 1),
	'a claim twice, the other way' => substr(claims(), 0, -1) . ', "tenant": "rival"}',
	'a claim twice, in escapes' => substr(claims(), 0, -1) . ', "\u0074enant": "rival"}',
	'an unknown claim' => claims(nbf => 5),
	'a claim in capitals' => claims(tenant => undef, TENANT => '"acme"'),
	(map { ("no $_" => claims($_ => undef)) } qw(db role tenant exp nonce)),
	'no tenants' => claims(tenant => '[]'),
	'an empty tenant' => claims(tenant => '""'),
	'an empty tenant among others' => claims(tenant => '["acme", ""]'),
	'tenant null' => claims(tenant => 'null'),
	'tenant a number' => claims(tenant => 5),
	'tenant true' => claims(tenant => 'true'),
	'tenant an object' => claims(tenant => '{"a": "acme"}'),
	'tenants in tenants' => claims(tenant => '[["acme"]]'),
	'a zero character' => claims(tenant => '"acme\u0000"'),
	'half a character' => claims(tenant => '"acme\ud800"'),
	'not UTF-8' => claims(tenant => "\"acme\xff\""),
	'a zero byte' => claims(tenant => "\"acme\0\""),
	'role an array' => claims(role => '["app"]'),
	'a short nonce' => claims(nonce => '"1234567"'),
	'an array' => '[' . claims() . ']',
	'a string' => '"acme"',
	'a number' => '5',
	'nothing' => '',
	'spaces' => '   ',
	'two objects' => claims() . claims(),
	'text behind' => claims() . 'x',
	'cut off' => substr(claims(), 0, -1),
	'a comma too many' => substr(claims(), 0, -1) . ',}',
	'deep' => '[' x 5000);
like(login(sign($odd{$_}, 'k1')), qr/^$invalid [A-Z][^\n]*\.$/, "claims: $_") foreach sort keys %odd;
is(login(token(tenant => "\"\\u00e4 \xc3\xa4 ' \\\\ \\\" {},:\"")), "\xc3\xa4 \xc3\xa4 ' \\ \" {},:",
	'a tenant may have any name');

# The one way to write a token.
my $good = token();
my @parts = split /\./, $good;
my %forms = (
	(map { ("cut to $_ parts" => join '.', @parts[ 0 .. $_ - 1 ]) } 1 .. 3),
	(map { ("without part $_" => join '.', @parts[ grep { $_ != $a } 0 .. 3 ]) } 0),
	'empty' => '',
	'dots' => '...',
	'no claims' => "v1.k1..$parts[3]",
	'no signature' => "v1.k1.$parts[2].",
	'five parts' => "$good.",
	'another version' => 'v2' . substr($good, 2),
	'version in capitals' => 'V1' . substr($good, 2),
	'padded' => "$good=",
	'padded claims' => join('.', @parts[ 0, 1 ], "$parts[2]=", $parts[3]),
	'a space before' => " $good",
	'a space behind' => "$good ",
	'a line end behind' => "$good\n",
	'a space within' => join('.', @parts[ 0 .. 2 ], ' ' . $parts[3]),
	'a letter more' => "${good}A",
	'longer than a token can be' => $good . 'A' x 9000,
	'a megabyte of claims' => join('.', @parts[ 0, 1 ], 'A' x 1_000_000, $parts[3]),
	'a megabyte of dots' => 'v1' . '.' x 1_000_000,
	'the algorithm left to the token' => 'v1.none.' . $parts[2] . '.');
like(login($forms{$_}), qr/^$invalid \w/, "form: $_") foreach sort keys %forms;

# The last letter of the signature has two bits that mean nothing.
my @alphabet = ('A' .. 'Z', 'a' .. 'z', 0 .. 9, '-', '_');
my ($at) = grep { $alphabet[$_] eq substr($good, -1) } 0 .. 63;
foreach my $bits (1 .. 3)
{
	is(login(substr($good, 0, -1) . $alphabet[ $at | $bits ]),
		"$invalid Its signature is not 32 bytes in base64url.", "form: stray bits $bits");
}
my $standard = $good =~ tr{-_}{+/}r;
like(login($standard), qr/^$invalid/, 'form: the other base64') if $standard ne $good;

# The token cut anywhere, and each bit of it flipped.
is( run(<<SQL), '0', 'a token that is cut anywhere is refused');
SELECT count(*) FROM generate_series(0, length('$good') - 1) AS n
WHERE try(left('$good', n), NULL) !~ '^$invalid' OR try(right('$good', n), NULL) !~ '^$invalid'
SQL
is( run(<<SQL), '0', 'a token with any bit flipped is refused');
SELECT count(*)
FROM generate_series(1, length('$good')) AS n, generate_series(0, 7) AS bit,
    LATERAL (SELECT ascii(substr('$good', n, 1)) # (1 << bit) AS flipped) AS letter
WHERE flipped > 0 AND try(overlay('$good' PLACING chr(flipped) FROM n FOR 1), NULL) !~ '^$invalid'
SQL
is(login($good), 'acme', 'the token that all these were made of is good to the end');
is(run('SELECT architect.tenant_login(NULL)'), 'ERROR:  token must not be NULL', 'no token');

# What is refused does not say what was given.
like( run("\\set VERBOSITY default\nSELECT architect.tenant_login('" . token(db => '"a secret name"') . "')"),
	qr/^(?!.*(secret|nonce number|acme)).*DETAIL:  It is for another database/s,
	'an error does not show what the token says');

# The same token from many sessions at once is used once.
$node->safe_psql('postgres', 'CREATE TABLE tokens (token text); GRANT SELECT ON tokens TO app');
$node->safe_psql('postgres', 'INSERT INTO tokens VALUES ' . join ', ', map { "('" . token() . "')" } 1 .. 300);
my @racers = map { { out => '' } } 1 .. 5;
foreach my $racer (@racers)
{
	$racer->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=app',
		  '-c', "SELECT count(*) FROM tokens WHERE try(token, NULL) = 'acme'" ],
		'>', \$racer->{out});
}
my $wins = 0;
foreach my $racer (@racers)
{
	$racer->{run}->finish;
	$wins += $racer->{out};
}
is($wins, 300, 'sessions that race for tokens get each once');

# Rotation: the file is looked at by each call.
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]) if $node->can('background_psql');
my @old = map { token() } 1 .. 2;
is(login(sign(claims(), 'k2')), 'acme', 'either key is good');
write_keys(['k2']);
is(login($old[0]), "$invalid Its key id is not known.", 'a key that is taken out no longer is');
is(login(sign(claims(), 'k2')), 'acme', 'the other is');
write_keys([ 'k1', 'k2' ]);
is(login($old[0]), 'acme', 'a key that is back is good again');
$keys{k2} = 'another key for this id, 32 bytes';
my $renewed = sign(claims(), 'k2');
is(login($renewed), "$invalid Its signature is wrong.", 'a key that the file does not have');
write_keys([ 'k1', 'k2' ]);
is(login($renewed), 'acme', 'until it has');
$token = token();
is( run(<<SQL), "$invalid Its key id is not known.\nacme", 'a session that has read the file reads it again');
SELECT try('v1.k9.e30.' || repeat('A', 43), NULL);
\\! mv $key_file $key_file.away
SELECT 1 WHERE try('$token', NULL) !~ '^F0000';
\\! mv $key_file.away $key_file
SELECT try('$token', NULL);
SQL

# A file with anything wrong is no file.
my $log_start = -s $node->logfile;
my %broken = (
	'rights of the group' => sub { chmod 0640, $key_file },
	'rights of others' => sub { chmod 0604, $key_file },
	'others may write' => sub { chmod 0602, $key_file },
	'missing' => sub { unlink $key_file },
	'a directory' => sub { unlink $key_file; mkdir $key_file, 0700 },
	'a pipe' => sub { unlink $key_file; system 'mkfifo', '-m', '600', $key_file },
	'empty' => sub { write_keys([]) },
	'a key that is too short' => sub { write_keys(['k1'], 'short ' . 'ab' x 31 . "\n") },
	'a key that is too long' => sub { write_keys(['k1'], 'long ' . 'ab' x 65 . "\n") },
	'half a byte' => sub { write_keys(['k1'], 'half ' . 'ab' x 32 . "a\n") },
	'no hexadecimal' => sub { write_keys(['k1'], 'odd ' . 'xy' x 32 . "\n") },
	'an id twice' => sub { write_keys([ 'k1', 'k2' ], 'k1 ' . 'ab' x 32 . "\n") },
	'an id alone' => sub { write_keys(['k1'], "k9\n") },
	'an id with a dot' => sub { write_keys(['k1'], 'k.9 ' . 'ab' x 32 . "\n") },
	'a third word' => sub { write_keys(['k1'], 'k9 ' . 'ab' x 32 . " what\n") },
	'a zero byte' => sub { write_keys(['k1'], "\0k9 " . 'ab' x 32 . "\n") },
	'too large' => sub { write_keys(['k1'], ('# ' . 'x' x 1000 . "\n") x 70) });
foreach my $how (sort keys %broken)
{
	$broken{$how}->();
	is(login(token()), 'F0000 The log of the server says why.', "key file: $how");
	run("SELECT architect.tenant_login('" . token() . "')") if $how =~ /group|third word/;
	-d $key_file ? rmdir $key_file : unlink $key_file;
	write_keys(['k1']);
}
is(login(token()), 'acme', 'the file counts again when it is right');
rename $key_file, "$key_file.real";
symlink "$key_file.real", $key_file;
is(login(token()), 'acme', 'the file may be behind a link');
unlink $key_file;
rename "$key_file.real", $key_file;
my $log = slurp_file($node->logfile, $log_start);
like($log, qr/DETAIL:  File "tenant.keys": group or others have rights to it/, 'the log says what is wrong');
like($log, qr/DETAIL:  File "tenant.keys": line 4: it is not a key id and a key in hexadecimal/, 'and where');
unlike($log, qr/\b[0-9a-f]{32,}/, 'no key is in the log');

# No other way to become a tenant: whoever can run any SQL as the application gets nothing.
my @settings = ('app.tenant_id', 'architect.tenant_state');
my @forged = ("'rival'", "'-5:rival'", "'w5:rival5:rival'", "'w0:'", "'r0:'");
foreach my $setting (@settings)
{
	foreach my $value (@forged)
	{
		my %ways = (
			'SET' => "SET $setting = $value",
			'SET in a transaction' => "BEGIN; SET $setting = $value",
			'SET LOCAL' => "BEGIN; SET LOCAL $setting = $value",
			'set_config' => "SELECT 1 WHERE set_config('$setting', $value, false) IS NULL",
			'set_config in a transaction' => "BEGIN; SELECT 1 WHERE set_config('$setting', $value, true) IS NULL",
			'set_config beside the table' =>
			  "SELECT * FROM item WHERE set_config('$setting', $value, false) IS NOT NULL",
			'set_config through UNION' => "SELECT set_config('$setting', $value, false), '' WHERE false UNION TABLE item",
			'a function with SET' => <<SQL,
CREATE FUNCTION forge() RETURNS SETOF item LANGUAGE sql SET $setting = $value AS 'TABLE item';
SELECT * FROM forge()
SQL
			'ALTER FUNCTION SET' => <<SQL,
CREATE FUNCTION forge() RETURNS SETOF item LANGUAGE sql AS 'TABLE item';
ALTER FUNCTION forge() SET $setting = $value;
SELECT * FROM forge()
SQL
			'SET FROM CURRENT' => <<SQL,
SET $setting = $value;
CREATE FUNCTION forge() RETURNS SETOF item LANGUAGE sql SET $setting FROM CURRENT AS 'TABLE item';
SELECT * FROM forge()
SQL
			'UPDATE of pg_settings' => "UPDATE pg_settings SET setting = $value WHERE name = '$setting'",
			'a savepoint' => "BEGIN; SAVEPOINT a; SET LOCAL $setting = $value; RELEASE a",
			'a DO block' => "DO \$do\$ BEGIN PERFORM set_config('$setting', $value, false); END \$do\$",
			'ALTER ROLE' => "ALTER ROLE app SET $setting = $value; \\c -");
		foreach my $way (sort keys %ways)
		{
			my $seen = run("$ways{$way};\nTABLE item; ROLLBACK; TABLE item; DROP FUNCTION IF EXISTS forge()");
			unlike($seen, qr/rocket|anvil/, "$way: $setting = $value");
		}
		$node->safe_psql('postgres', "ALTER ROLE app RESET $setting");

		my $options = "-c $setting=" . substr($value, 1, -1);
		local $ENV{PGOPTIONS} = $options;
		unlike(run('TABLE item'), qr/rocket|anvil/, "startup options: $setting = $value");
	}

	# Not even a superuser's ALTER DATABASE or ALTER ROLE does.
	foreach my $object ('DATABASE postgres', 'ROLE app', 'ROLE app IN DATABASE postgres', 'ROLE ALL')
	{
		$node->psql('postgres', "ALTER $object SET $setting = 'rival'");
		unlike(run('TABLE item'), qr/rocket|anvil/, "ALTER $object: $setting");
		$node->psql('postgres', "ALTER $object RESET $setting");
	}
}
my %other_ways = (
	'tenant_set' => "SELECT architect.tenant_set('rival')",
	'tenant_set of nothing' => "SELECT architect.tenant_clear(); SELECT architect.tenant_set('rival')",
	'turn trusted mode off' => 'SET architect.tenant_trusted = off; SET app.tenant_id = rival',
	'turn it off by set_config' => "SELECT set_config('architect.tenant_trusted', 'off', false); SET app.tenant_id = rival",
	'turn it off for a function' =>
	  "CREATE FUNCTION forge() RETURNS SETOF item LANGUAGE sql SET architect.tenant_trusted = off AS 'TABLE item'; SELECT * FROM forge()",
	'turn it off for the role' => 'ALTER ROLE app SET architect.tenant_trusted = off; \c -',
	'reset it' => 'SET app.tenant_id = rival; RESET architect.tenant_trusted',
	'reset all' => 'SET app.tenant_id = rival; RESET ALL',
	'discard all' => 'SET app.tenant_id = rival; DISCARD ALL',
	'name another setting' => "SET architect.tenant_setting = 'a.b'; SET a.b = rival",
	'another file of keys' => "SET architect.tenant_key_file = '/tmp/keys'",
	'a longer life' => "SET architect.tenant_token_lifetime = '1d'",
	'load the library again' => "LOAD 'pg_architect'",
	'what a private function does' => "SELECT architect._tenant_support(NULL)",
	'cross' => "SELECT architect.tenant_cross('because')");
foreach my $way (sort keys %other_ways)
{
	unlike(run("SET app.tenant_id = 'rival';\n$other_ways{$way};\nTABLE item; DROP FUNCTION IF EXISTS forge()"),
		qr/rocket|anvil/, "no other way: $way");
	foreach my $begin ('BEGIN', 'BEGIN; SAVEPOINT a')
	{
		unlike(run("$begin; $other_ways{$way}; TABLE item; ROLLBACK; DROP FUNCTION IF EXISTS forge()"), qr/rocket|anvil/,
			"no other way: $way after $begin");
	}
}

# Within a transaction that has a tenant, none of these makes it another.
foreach my $setting (@settings)
{
	foreach my $do ("SET LOCAL $setting = rival", "SELECT 1 WHERE set_config('$setting', 'rival', true) IS NULL",
		"SET $setting = ''", "RESET $setting", 'RESET ALL', 'SET LOCAL ROLE clerk')
	{
		$token = token();
		unlike(run("BEGIN; SELECT architect.tenant_login('$token'); SAVEPOINT a; $do; TABLE item; ROLLBACK TO a; TABLE item"),
			qr/rocket/, "a tenant stays what it is: $do");
	}
}
$token = token();
unlike(run("BEGIN; SELECT architect.tenant_login('$token'); COMMIT AND CHAIN; TABLE item; COMMIT; TABLE item"),
	qr/anvil/, 'nothing outlives the transaction');
unlike(run('SHOW architect.tenant_state; SELECT * FROM pg_settings WHERE name ~ \'tenant_state|key_file\'; SHOW ALL'),
	qr/acme|tenant\.keys/, 'neither state nor file of keys is shown to the application');

# The makers of tokens that the documentation shows.
my $secret = unpack 'H*', $keys{k1};
my %makers = (
	python3 => <<'PYTHON',
import base64, hashlib, hmac, json, secrets, sys, time

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()

def tenant_token(key_id, key, database, role, tenant, seconds=60):
    claims = {'db': database, 'role': role, 'tenant': tenant,
              'exp': int(time.time()) + seconds, 'nonce': secrets.token_hex(16)}
    signed = f'v1.{key_id}.{base64url(json.dumps(claims).encode())}'
    signature = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return f'{signed}.{base64url(signature)}'

print(tenant_token('k1', bytes.fromhex(sys.argv[1]), 'postgres', 'app', ['acme', 'ä']))
PYTHON
	node => <<'NODE');
const crypto = require('node:crypto');

function tenantToken(keyId, key, database, role, tenant, seconds = 60) {
  const claims = { db: database, role, tenant,
    exp: Math.floor(Date.now() / 1000) + seconds, nonce: crypto.randomBytes(16).toString('hex') };
  const signed = `v1.${keyId}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  return `${signed}.${crypto.createHmac('sha256', key).update(signed).digest('base64url')}`;
}

console.log(tenantToken('k1', Buffer.from(process.argv[2], 'hex'), 'postgres', 'app', ['acme', 'ä']));
NODE
foreach my $program (sort keys %makers)
{
  SKIP:
	{
		my $file = File::Temp->new(SUFFIX => $program eq 'node' ? '.js' : '.py');
		print $file $makers{$program};
		close $file;
		skip "no $program here", 1 if system("$program --version >/dev/null 2>&1") != 0;
		my $made = `$program $file $secret`;
		chomp $made;
		is(login($made, "\xc3\xa4"), "\xc3\xa4", "a token made by $program is good");
	}
}

# What was used stays used over a restart and a crash.
$token = token();
is(login($token), 'acme', 'a token is used before the restart');
my $kept = token();
$node->restart;
like(login($token), qr/^$invalid It has been used before/, 'and stays used after it');
is(login($kept), 'acme', 'another is still good');
$node->restart;
like(login($kept), qr/^$invalid It has been used before/, 'and so on');
$node->append_conf('postgresql.conf', "architect.tenant_token_lifetime = 10\nrestart_after_crash = on");
$node->reload;
$token = token(exp => time + 9);
$kept = token(exp => time + 9);
is(login($token), 'acme', 'a token is used before the crash');
$node->safe_psql('postgres', 'SELECT 1');
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
kill 'KILL', $pid;
$node->poll_query_until('postgres', "SELECT NOT pg_is_in_recovery()") or die 'the server does not come back';
like(login($token), qr/^$invalid It may have been used before the server crashed/, 'after a crash it is not known');
like(login($kept), qr/^$invalid It may have been used before the server crashed/, 'of any that could have been used');
sleep 3;
is(login(token(exp => time + 10)), 'acme', 'a token that cannot have been used then is good');

# A standby remembers for itself, and begins as after a crash.
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->restart;
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
chmod 0600, $standby->data_dir . '/tenant.keys';
$standby->start;
($token, $kept) = (token(exp => time + 10), token(exp => time + 5));
my %read_only;
foreach my $one ($token, $kept)
{
	$standby->psql('postgres', "BEGIN; SELECT architect.tenant_login('$one'); TABLE item",
		extra_params => [ '-U', 'app' ], stdout => \$read_only{$one}, stderr => \$read_only{error});
}
is($read_only{$token}, "acme\nacme|anvil", 'a token is good on a standby');
like($read_only{error}, qr/It may have been used before the server crashed/, 'unless it may have been used there before');
is(login($token), 'acme', 'and once more on the primary');
is(run("BEGIN READ ONLY; SELECT try('" . token(exp => time + 9) . "', NULL)"), 'acme', 'and to read only');
$standby->stop;

# Where all places are taken no token is good, until those before have expired.
$node->append_conf('postgresql.conf', 'architect.tenant_token_slots = 1024');
$node->restart;
$node->safe_psql('postgres',
	'TRUNCATE tokens; INSERT INTO tokens VALUES ' . join ', ', map { "('" . token(exp => time + 8) . "')" } 1 .. 1500);
like(run("SELECT string_agg(DISTINCT try(token, NULL), '/') FROM tokens"), qr{^53400 Each is remembered .*/acme$}, 'no more places');
sleep 8;
is(login(token(exp => time + 5)), 'acme', 'places become free');

# Without keys, without trusted mode, without preloading: closed.
$node->append_conf('postgresql.conf', "architect.tenant_key_file = ''");
$node->reload;
is(login(token(exp => time + 5)), '55000 Setting architect.tenant_key_file is empty.', 'no file of keys');
$node->append_conf('postgresql.conf', "architect.tenant_key_file = 'tenant.keys'\narchitect.tenant_trusted = off");
$node->reload;
is(login(token(exp => time + 5)), '55000 Setting architect.tenant_trusted is off.', 'not in trusted mode');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\narchitect.tenant_trusted = on");
foreach my $setting ('', 'session_preload_libraries')
{
	my $how = $setting || 'no preloading';
	$node->append_conf('postgresql.conf', "$setting = 'pg_architect'") if $setting;
	$node->restart;
	like(run("SELECT architect.tenant_login('" . token(exp => time + 5) . "')"),
		qr/^ERROR:  tenant tokens need pg_architect in shared_preload_libraries$/, "$how: no token is good");
	is(run('TABLE item'), '', "$how: there are no rows");
	foreach my $forge (map { my $of = $_; map { "SET $of = $_" } @forged } @settings)
	{
		unlike(run("$forge; TABLE item; SELECT architect.tenant_current(); TABLE item;"), qr/rocket|anvil/, "$how: $forge");
		foreach my $begin ('', 'BEGIN;', 'BEGIN; SAVEPOINT a;')
		{
			unlike(run("$begin SET architect.tenant_trusted = off; SET architect.tenant_setting = 'a.b'; SET a.b = rival;
				$forge; TABLE item; COMMIT; TABLE item;"), qr/rocket|anvil/, "$how: $begin $forge, and trusted mode off");
		}
	}
	foreach my $way (sort keys %other_ways)
	{
		unlike(run("SET app.tenant_id = 'rival';\n$other_ways{$way};\nTABLE item; TABLE item; DROP FUNCTION IF EXISTS forge()"),
			qr/rocket|anvil/, "$how: no other way: $way");
		$node->safe_psql('postgres', 'ALTER ROLE app RESET ALL');
	}
	foreach my $trusted (map { ("architect.$_=off", "--architect.$_=off") } 'tenant_trusted', 'tenant-trusted', 'Tenant_Trusted')
	{
		local $ENV{PGOPTIONS} = ($trusted =~ /^--/ ? $trusted : "-c $trusted")
		  . ' -c app.tenant_id=rival -c architect.tenant_state=w5:rival';
		unlike(run('TABLE item; SELECT architect.tenant_current(); TABLE item'), qr/rocket|anvil/, "$how: startup option $trusted");
		like(run('TABLE item; SHOW architect.tenant_trusted'), qr/^on$/m, "$how: startup option $trusted does not count");
	}
}

$node->stop;
done_testing();
