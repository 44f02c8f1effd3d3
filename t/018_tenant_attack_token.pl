# The same where the tenant comes from a signed token: no SQL makes another one of it, and
# no other token does.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Attack;
use MIME::Base64 qw(encode_base64url);
use Test::More;

open_shop('vault', 'elsewhere');
$node->safe_psql('postgres', "ALTER DATABASE $_ SET architect.tenant_trusted = on") for ('vault', 'elsewhere');

my $own = qr/^1000\|mine$/m;
my $nothing = qr/^0\|$/m;
attack_with_token('a good token gives its tenant and no more', $look, meant => $own);
attack('tenant_set without a token', "BEGIN; SELECT architect.tenant_set(2); ROLLBACK; $look", meant => qr/42501.*^0\|$/ms);
attack_with_token('tenant_set beside the token', "SAVEPOINT s; SET LOCAL architect.tenant_switch = on; SELECT architect.tenant_set(2); ROLLBACK TO s; $look", meant => qr/42501.*^1000\|mine$/ms);
attack_with_token('SET LOCAL', "SET LOCAL app.tenant_id = '2'; $look", meant => $own);
attack_with_token('SET', "SET app.tenant_id = '2'; $look", meant => $own);
attack_with_token('set_config', "SELECT set_config('app.tenant_id', '2', true), set_config('app.tenant_id', '2', false); $look", meant => $own);
attack_with_token('UNION SELECT set_config', <<SQL, meant => $own);
SELECT secret FROM shop.account WHERE id = 1 UNION SELECT set_config('app.tenant_id', '2', true) UNION SELECT max(secret) FROM shop.account;
$look
SQL
attack_with_token('UPDATE pg_settings', "UPDATE pg_settings SET setting = '2' WHERE name = 'app.tenant_id'; $look", meant => $own);
attack_with_token('a function with SET', <<SQL, meant => qr/^mine$/m);
CREATE FUNCTION playground.as_other() RETURNS text LANGUAGE sql SET app.tenant_id = '2' AS 'SELECT max(secret) FROM shop.account';
SELECT playground.as_other();
SQL
attack('a startup option', $look, options => '-c app.tenant_id=2', meant => $nothing);
attack('ALTER ROLE SET, and a new session', "ALTER ROLE app SET app.tenant_id = '2';\n\\c - app\n$look\nALTER ROLE app RESET app.tenant_id;", meant => $nothing);
attack('ALTER DATABASE SET', "ALTER DATABASE vault SET app.tenant_id = '2';", meant => qr/42501/);
attack_with_token('SET of the hidden setting', "SAVEPOINT s; SET LOCAL architect.tenant_state = '-1:2'; ROLLBACK TO s; $look", meant => qr/42501.*^1000\|mine$/ms);
attack_with_token('set_config of the hidden setting', "SAVEPOINT s; SELECT set_config('architect.tenant_state', 'w0:', true); ROLLBACK TO s; $look",
	meant => qr/42501.*^1000\|mine$/ms);
attack_with_token('the hidden setting by pg_settings', "UPDATE pg_settings SET setting = 'w0:' WHERE name = 'architect.tenant_state'; $look", meant => $own);
attack('the hidden setting by a function with SET',
	"CREATE FUNCTION playground.hidden() RETURNS void LANGUAGE sql SET architect.tenant_state = 'w0:' AS 'SELECT'; $look",
	meant => qr/42501.*^0\|$/ms);
attack('the hidden setting by ALTER ROLE', "ALTER ROLE app SET architect.tenant_state = 'w0:';\n\\c - app\n$look", meant => qr/42501.*^0\|$/ms);
attack('the hidden setting by a startup option', $look, options => '-c architect.tenant_state=w0:', meant => qr/FATAL|^0\|$/m);
attack_with_token('SHOW of the hidden setting', 'SAVEPOINT s; SHOW architect.tenant_state; ROLLBACK TO s; SELECT current_setting(\'architect.tenant_state\');', meant => qr/42501|^$/m);
attack('out of trusted mode', "SET architect.tenant_trusted = off; SET app.tenant_id = '2'; $look", meant => qr/42501.*^0\|$/ms);
attack('out of trusted mode, by a startup option', "SET app.tenant_id = '2'; $look", options => '-c architect.tenant_trusted=off', meant => qr/42501|FATAL|^0\|$/m);
attack('out of trusted mode, by ALTER ROLE', 'ALTER ROLE app SET architect.tenant_trusted = off;', meant => qr/42501/);
attack('another setting for the tenant', "SET architect.tenant_setting = 'my.tenant'; SET my.tenant = '2'; $look", meant => qr/42501.*^0\|$/ms);
attack_with_token('a stacked COMMIT', "COMMIT; BEGIN; SELECT architect.tenant_set(2); ROLLBACK; BEGIN; SET LOCAL app.tenant_id = '2'; $look", meant => qr/42501.*^0\|$/ms);
attack_with_token('a stacked ROLLBACK AND CHAIN', "ROLLBACK AND CHAIN; $look", meant => $nothing);
attack_with_token('RESET ALL', "RESET ALL; $look", meant => qr/^(1000\|mine|0\|)$/m);
attack_with_token('DISCARD ALL afterwards', "COMMIT; DISCARD ALL; $look", meant => $nothing);
attack_with_token('a savepoint', "SAVEPOINT s; SELECT architect.tenant_clear(); ROLLBACK TO s; $look", meant => $own);
attack_with_token('parallel workers, trusted', "$parallel\n$look", meant => $own);
attack_with_token('a tenant that the token does not list', "SAVEPOINT s; SET LOCAL architect.tenant_switch = on; SELECT architect.tenant_set(2); ROLLBACK TO s; $look",
	claims => { tenant => '["1","3"]' }, meant => qr/42501.*^1000\|mine$/ms);
attack_with_token('the function that the policies ask', "CREATE OR REPLACE FUNCTION architect.tenant_bigint() RETURNS bigint LANGUAGE sql AS 'SELECT 2';",
	meant => qr/42501/);

# ---------------------------------------------------------------- tokens

my $good = token();
attack('a replayed token, in the same session', "BEGIN; SELECT architect.tenant_login('$good'); $look COMMIT; BEGIN; SELECT architect.tenant_login('$good'); ROLLBACK; $look",
	meant => qr/^1000\|mine$.*ERROR.*^0\|$|ERROR.*^1000\|mine\n(.*\n)*0\|$/ms);
forge('a replayed token, in another session', $good, qr/used before/);
my $rolled_back = token();
attack('a token of a transaction that was rolled back',
	"BEGIN; SELECT architect.tenant_login('$rolled_back'); ROLLBACK; BEGIN; SELECT architect.tenant_login('$rolled_back'); ROLLBACK; $look",
	meant => qr/ERROR/);
forge('a token that has expired', token(exp => time() - 60), qr/has expired/);
forge('a token for all eternity', token(exp => 4102444800), qr/expires in more/);
forge("another database's token", token(db => '"elsewhere"'), qr/another database/);
forge("another role's token", token(role => '"other_app"'), qr/another role/);
forge('a token signed with another key', sign(claims(), key => 'ff' x 32), qr/signature is wrong/);
forge('a token of a key that is not there', sign(claims(), key_id => 'k2'), qr/key id is not known/);
forge('a key id that is a path', sign(claims(), key_id => '/etc/passwd'), qr/key id is not known/);
forge('an unsigned token', join('.', 'v1', 'k1', encode_base64url(claims(tenant => '"2"')), ''), qr/signature/);
forge("new claims with another token's signature", join('.', 'v1', 'k1', encode_base64url(claims(tenant => '"2"')), (split /\./, token())[3]), qr/signature is wrong/);
forge('another version', do { my $t = token(tenant => '"2"'); $t =~ s/^v1/v2/; $t }, qr/begin with/);
forge('claims without a nonce', token(nonce => undef, tenant => '"2"'), qr/nonce/);
forge('claims without an expiry', token(exp => undef, tenant => '"2"'), qr/"exp"/);
forge('claims without a role', token(role => undef, tenant => '"2"'), qr/"role"/);
forge('claims without a database', token(db => undef, tenant => '"2"'), qr/"db"/);
forge('a tenant that is not listed, as the argument', token(tenant => '["1","3"]'), qr/does not name it/, argument => '2');
forge('a claim given twice', sign('{"tenant":"1",' . substr(claims(tenant => '"2"'), 1)), qr/twice/);
forge('a padded token', token(tenant => '"2"') . '=', qr/base64url/);
forge('a token with spaces', ' ' . token(tenant => '"2"') . ' ', qr/begin with/);
forge('no token at all', '', qr/begin with/);
my $other_database = token(db => '"elsewhere"', tenant => '"2"');
is( run_script('elsewhere', "BEGIN; SELECT architect.tenant_login('$other_database'); SELECT count(*) FROM shop.account;") =~ /^1000$/m,
	1, 'that token is good where it belongs');

# Every way to cut a token off, or to change one bit of it; all of them in one session.
my $victim = token(tenant => '"2"');
my @cut = map { substr($victim, 0, $_) } 1 .. length($victim) - 1;
my @flipped = grep { /^[\x20-\x26\x28-\x7e]+$/ && $_ ne $victim }
  map { my $i = $_; map { my $t = $victim; substr($t, $i, 1) = chr(ord(substr($t, $i, 1)) ^ (1 << $_)); $t } 0 .. 6 } 0 .. length($victim) - 1;
for (['a token, truncated', \@cut], ['a token, one bit flipped', \@flipped])
{
	my ($name, $tokens) = @$_;
	my $all = join(',', map { "'$_'" } @$tokens);
	attack($name, <<SQL, meant => qr/^@{[ scalar(@$tokens) ]} refused$/m);
CREATE FUNCTION playground.is_refused(token text) RETURNS boolean LANGUAGE plpgsql AS \$\$
BEGIN
    PERFORM architect.tenant_login(token);
    RETURN false;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END \$\$;
SELECT count(*) || ' refused' FROM unnest(ARRAY[$all]) AS token WHERE playground.is_refused(token);
DROP FUNCTION playground.is_refused(text);
SQL
}

# ---------------------------------------------------------------- without the library

# Loaded by the first call of a function, after the session had its say about settings.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
attack('not preloaded: no tenant', $look, meant => qr/^0\|$/m);
attack('not preloaded: a hidden setting of the session', "SET architect.tenant_state = 'w0:'; $look $look", meant => qr/^0\|$|42501/m);
attack('not preloaded: a hidden setting of the connection', $look, options => '-c architect.tenant_state=w0:', meant => qr/^0\|$/m);
attack('not preloaded: out of trusted mode', "SET architect.tenant_trusted = off; SET app.tenant_id = '2'; $look $look", meant => qr/^0\|$/m);
attack('not preloaded: a startup option against trusted mode', "SET app.tenant_id = '2'; $look $look",
	options => '-c architect.tenant_trusted=off', meant => qr/^0\|$/m);
forge('not preloaded: a token that nobody could remember', token(), qr/memory/);

my $attacks = count_attack();
cmp_ok($attacks, '>=', 50, "$attacks attacks");
$node->stop;
done_testing();
