# What an attacker tries who can run any SQL as the application: to read another
# tenant's rows, to change them, to learn of them.  Each attack has a name, is checked
# to have run as it was meant, and must show nothing and change nothing.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
my $key_file = $node->data_dir . '/tenant.keys';
append_to_file($key_file, "k1 $key\n");
chmod 0600, $key_file;
$node->append_conf('postgresql.conf', <<CONF);
shared_preload_libraries = 'pg_architect'
architect.tenant_key_file = 'tenant.keys'
max_prepared_transactions = 5
CONF
$node->start;

# ---------------------------------------------------------------- the shop

# Tenant 1 is the attacker, tenant 2 the one whose rows say SECRET.
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
CREATE TABLE shop.loose (tenant_id integer NOT NULL, email text PRIMARY KEY);
CREATE TABLE shop.loose_note (tenant_id integer NOT NULL, email text REFERENCES shop.loose ON DELETE CASCADE ON UPDATE CASCADE, secret text);
CREATE FUNCTION shop.fill() RETURNS void LANGUAGE sql AS $$
    INSERT INTO shop.account
        SELECT CASE WHEN i % 2 = 0 THEN 2 ELSE 1 END, i, CASE WHEN i % 2 = 0 THEN 'the SECRET ' || i % 7 ELSE 'mine' END, 4242 * (1 - i % 2)
        FROM generate_series(1, 2000) AS i;
    INSERT INTO shop.event SELECT 1 + i % 2, date '2026-01-15' + 30 * (i / 2), CASE i % 2 WHEN 0 THEN 'mine' ELSE 'the SECRET' END
        FROM generate_series(0, 19) AS i;
    INSERT INTO shop.paper VALUES (1, 1, 'mine'), (2, 2, 'the SECRET');
    INSERT INTO shop.invoice VALUES (1, 3, 'mine'), (2, 4, 'the SECRET');
    INSERT INTO shop.loose VALUES (1, 'mine-mail'), (2, 'their-mail');
    INSERT INTO shop.loose_note VALUES (1, 'mine-mail', 'mine'), (2, 'their-mail', 'the SECRET');
$$;
SELECT shop.fill();
RESET SESSION AUTHORIZATION;
ANALYZE shop.account;
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
$node->safe_psql('postgres', 'CREATE ROLE shopkeeper LOGIN; CREATE ROLE app LOGIN; CREATE ROLE other_app LOGIN');
for my $database ('shop', 'vault', 'elsewhere')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION pg_architect;\n$shop");
}
$node->safe_psql('postgres', "ALTER DATABASE $_ SET architect.tenant_trusted = on") for ('vault', 'elsewhere');

# What must not change: all rows that are not the attacker's.  Then what he may change.
my $rows = <<'SQL';
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT tenant_id, account::text FROM shop.account UNION ALL
    SELECT tenant_id, event::text FROM shop.event UNION ALL
    SELECT tenant_id, paper::text FROM shop.paper UNION ALL
    SELECT tenant_id, loose::text FROM shop.loose UNION ALL
    SELECT tenant_id, loose_note::text FROM shop.loose_note) AS rows (tenant_id, line)
SQL
my ($theirs, $his) = ("$rows WHERE tenant_id <> 1;", "$rows WHERE tenant_id = 1;");
my %untouched = map { $_ => $node->safe_psql($_, "$theirs $his") } ('shop', 'vault');
my $tidy = 'DROP SCHEMA playground CASCADE; CREATE SCHEMA playground AUTHORIZATION app;';
my $refill = <<'SQL';
TRUNCATE shop.account, shop.event, shop.paper, shop.loose, shop.loose_note;
SELECT shop.fill();
SQL

# Returns all that the server says to a script: first the errors and notices.
sub run_script
{
	my ($database, $sql, %params) = @_;
	my ($out, $err);

	local $ENV{PGOPTIONS} = $params{options} if $params{options};
	$node->psql(
		$database, "\\set VERBOSITY verbose\n$sql",
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $params{user} // 'app' ]);
	return "$err\n$out";
}

# attack NAME, SQL, meant => REGEX: the script's answer must match, as a sign that it did
# what it was meant to do.
my $attacks = 0;
my $database = 'shop';
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

# First of all: the attacks would be seen if they went through.
like(run_script('shop', 'SELECT max(secret) FROM shop.account', user => 'postgres'), qr/SECRET/, 'there is a secret');
isnt($node->safe_psql('shop', "BEGIN; UPDATE shop.account SET balance = 1 WHERE id = 2; $theirs $his ROLLBACK"),
	$untouched{shop}, 'and a change of it would be noticed');

# ---------------------------------------------------------------- reading

attack('no tenant is set', 'SELECT count(*), max(secret) FROM shop.account;', meant => qr/^0\|$/m);
attack('an empty tenant', "BEGIN; SET LOCAL app.tenant_id = ''; SELECT count(*) FROM shop.account;", meant => qr/^0$/m);
attack('a tenant that is no number', "BEGIN; SET LOCAL app.tenant_id = '1 OR true'; SELECT secret FROM shop.account;",
	meant => qr/22P02/);
attack('tenant_set(NULL)', 'BEGIN; SELECT architect.tenant_set(NULL::text); SELECT secret FROM shop.account;', meant => qr/22004/);
attack_as_tenant('another tenant in WHERE', 'SELECT count(*), max(secret) FROM shop.account WHERE tenant_id = 2;', meant => qr/^0\|$/m);
attack_as_tenant('OR true', 'SELECT count(DISTINCT secret) FROM shop.account WHERE id = 1 OR true;', meant => qr/^1$/m);
attack_as_tenant('UNION with the same table', "SELECT 'x' UNION SELECT secret FROM shop.account WHERE tenant_id > 1;", meant => qr/^x$/m);
attack_as_tenant('a sub-select', 'SELECT (SELECT max(secret) FROM shop.account), (SELECT count(*) FROM shop.account);', meant => qr/^mine\|1000$/m);
attack_as_tenant('a recursive query', <<'SQL', meant => qr/^1000$/m);
WITH RECURSIVE r AS (SELECT 2 AS tenant UNION SELECT tenant + 1 FROM r WHERE tenant < 5)
SELECT count(*) FROM shop.account LEFT JOIN r ON tenant = tenant_id;
SQL
attack_as_tenant('by the place of the row', "SELECT secret FROM shop.account WHERE ctid = ANY (ARRAY['(0,2)', '(0,4)']::tid[]); SELECT 'asked';",
	meant => qr/^asked$/m);
attack_as_tenant('a sample of the table', 'SELECT count(DISTINCT secret) FROM shop.account TABLESAMPLE SYSTEM (100);', meant => qr/^1$/m);
attack_as_tenant('SELECT FOR UPDATE', "SELECT secret FROM shop.account WHERE id = 2 FOR UPDATE; SELECT 'asked';", meant => qr/^asked$/m);
attack_as_tenant('whole rows as JSON', "SELECT string_agg(DISTINCT to_jsonb(a) ->> 'secret', ',') FROM shop.account AS a;", meant => qr/^mine$/m);
attack_as_tenant('the table as XML', "SELECT length(table_to_xml('shop.account', true, false, '')::text) > 0 AND query_to_xml('SELECT max(secret) FROM shop.account', true, false, '')::text ~ 'mine';",
	meant => qr/^t$|0A000/m);
attack_as_tenant('COPY TO', 'COPY shop.account (secret) TO STDOUT;', meant => qr/^mine$/m);
attack_as_tenant('COPY of a query', 'COPY (SELECT max(secret) FROM shop.account) TO STDOUT;', meant => qr/^mine$/m);
attack_as_tenant('row_security off', 'SET LOCAL row_security = off; SELECT secret FROM shop.account;', meant => qr/42501.*row-level security/);

# ---------------------------------------------------------------- leaks

attack_as_tenant('a leaky function in WHERE', <<'SQL', meant => qr/told mine/);
CREATE FUNCTION playground.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'told %', $1; RETURN true; END $$;
SELECT count(*) FROM shop.account WHERE playground.tell(secret) AND id < 5;
SELECT count(*) FROM shop.proper WHERE playground.tell(secret) AND id < 5;
SELECT count(*) FROM shop.account JOIN shop.paper USING (tenant_id) WHERE playground.tell(account.secret || paper.secret);
SQL
attack_as_tenant('a leaky operator in WHERE', <<'SQL', meant => qr/compared mine/);
CREATE FUNCTION playground.compare(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'compared %', $1; RETURN true; END $$;
CREATE OPERATOR playground.<<< (FUNCTION = playground.compare, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel);
SELECT count(*) FROM shop.account WHERE secret OPERATOR(playground.<<<) 'x' AND id < 5;
SQL
attack_as_tenant('a leaky operator on statistics', <<'SQL', meant => qr/Index|Scan/);
CREATE FUNCTION playground.guess(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'guessed %', $1; RETURN true; END $$;
CREATE OPERATOR playground.<<< (FUNCTION = playground.guess, LEFTARG = text, RIGHTARG = text, RESTRICT = scalarltsel);
EXPLAIN SELECT count(*) FROM shop.account WHERE secret OPERATOR(playground.<<<) 'x';
EXPLAIN SELECT count(*) FROM shop.proper WHERE secret OPERATOR(playground.<<<) 'x';
SQL
attack_as_tenant('a leaky function in ORDER BY, GROUP BY and a window', <<'SQL', meant => qr/sorted mine/);
CREATE FUNCTION playground.sort(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'sorted %', $1; RETURN $1; END $$;
SELECT playground.sort(secret), count(*) OVER (PARTITION BY playground.sort(secret)) FROM shop.account
WHERE id < 5 GROUP BY playground.sort(secret), secret ORDER BY playground.sort(secret);
SQL
attack_as_tenant('an error that depends on a hidden row', 'SELECT count(*) FROM shop.account WHERE 1 / (balance - 4242) <= 0;', meant => qr/^1000$/m);
attack_as_tenant('an error message with a hidden value', 'SELECT count(*) FROM shop.account WHERE secret::integer = 1;',
	meant => qr/22P02.*"mine"/);
attack_as_tenant('an error message of a constraint', "INSERT INTO shop.account VALUES (2, 2, 'x', 1);", meant => qr/42501/);
attack_as_tenant('a hidden value in a failing row', "UPDATE shop.account SET tenant_id = NULL WHERE id IN (1, 2);", meant => qr/42501|23502/);
attack_as_tenant('EXPLAIN ANALYZE', 'EXPLAIN (ANALYZE, VERBOSE, COSTS off, TIMING off, SUMMARY off) SELECT * FROM shop.account WHERE tenant_id = 2;',
	meant => qr/rows=0/);
attack_as_tenant('EXPLAIN of a value that others have', "EXPLAIN (ANALYZE, VERBOSE) SELECT secret FROM shop.account WHERE secret LIKE 'the S%';",
	meant => qr/tenant_bigint/);
attack_as_tenant('statistics of columns', "SELECT count(*) FROM pg_stats WHERE schemaname = 'shop' AND tablename = 'account';", meant => qr/^0$/m);
attack_as_tenant('extended statistics', <<'SQL', meant => qr/^0\|0$/m);
SELECT (SELECT count(*) FROM pg_stats_ext WHERE most_common_vals IS NOT NULL),
       (SELECT count(*) FROM pg_stats_ext_exprs WHERE most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL);
SQL
attack_as_tenant('the catalog of statistics', 'SELECT * FROM pg_statistic;', meant => qr/42501/);
attack_as_tenant('the catalog of extended statistics', 'SELECT * FROM pg_statistic_ext_data;', meant => qr/42501/);
attack_as_tenant('statistics of the playground, over a view', <<'SQL', meant => qr/42501|42809/);
CREATE VIEW playground.mine AS SELECT * FROM shop.account;
CREATE STATISTICS playground.s ON secret, balance FROM shop.account;
SQL

# ---------------------------------------------------------------- writing

attack_as_tenant('INSERT for another', "INSERT INTO shop.account VALUES (2, 9999, 'x', 1);", meant => qr/42501/);
attack_as_tenant('INSERT for nobody', "INSERT INTO shop.account VALUES (NULL, 9999, 'x', 1);", meant => qr/42501|23502/);
attack('INSERT without a tenant', "INSERT INTO shop.account VALUES (2, 9999, 'x', 1);", meant => qr/42501/);
attack_as_tenant('UPDATE of another', 'UPDATE shop.account SET balance = 0 WHERE tenant_id = 2 RETURNING secret;', meant => qr/architect|1/);
attack_as_tenant('UPDATE without WHERE', "UPDATE shop.account SET balance = 7; SELECT count(*) FROM shop.account WHERE balance = 7;", meant => qr/^1000$/m);
attack_as_tenant('UPDATE that gives rows away', 'UPDATE shop.account SET tenant_id = 2, id = id + 5000;', meant => qr/42501/);
attack_as_tenant('UPDATE that takes rows over', "UPDATE shop.account SET tenant_id = 1 WHERE id = 2; SELECT 'asked';", meant => qr/^asked$/m);
attack_as_tenant('UPDATE FROM', 'UPDATE shop.paper SET secret = a.secret FROM shop.account AS a WHERE a.tenant_id = 2 RETURNING paper.secret;', meant => qr/1/);
attack_as_tenant('DELETE of another', "DELETE FROM shop.account WHERE tenant_id = 2; SELECT 'asked';", meant => qr/^asked$/m);
attack_as_tenant('DELETE without WHERE', "DELETE FROM shop.account; SELECT count(*) FROM shop.account;", meant => qr/^0$/m);
attack_as_tenant('DELETE in a query, RETURNING', 'WITH gone AS (DELETE FROM shop.account RETURNING secret) SELECT count(*), max(secret) FROM gone;',
	meant => qr/^1000\|mine$/m);
attack_as_tenant('ON CONFLICT DO UPDATE', <<'SQL', meant => qr/42501/);
INSERT INTO shop.loose VALUES (1, 'their-mail') ON CONFLICT (email) DO UPDATE SET tenant_id = 1 RETURNING *;
SQL
attack_as_tenant('ON CONFLICT DO UPDATE, with the other tenant given', <<'SQL', meant => qr/42501/);
INSERT INTO shop.account VALUES (2, 2, 'x', 1) ON CONFLICT (tenant_id, id) DO UPDATE SET secret = excluded.secret RETURNING account.secret;
SQL
attack_as_tenant('MERGE that updates', <<'SQL', meant => qr/asked/);
MERGE INTO shop.account AS a USING (VALUES (2)) AS v (id) ON a.id = v.id WHEN MATCHED THEN UPDATE SET secret = 'x';
SELECT 'asked';
SQL
attack_as_tenant('MERGE that deletes', <<'SQL', meant => qr/^asked$/m);
MERGE INTO shop.account AS a USING (VALUES (2)) AS v (id) ON a.id = v.id WHEN MATCHED THEN DELETE;
SELECT 'asked';
SQL
attack_as_tenant('MERGE that inserts', <<'SQL', meant => qr/42501/);
MERGE INTO shop.account AS a USING (VALUES (2, 2)) AS v (tenant, id) ON a.tenant_id = v.tenant AND a.id = v.id
WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (v.tenant, 9999, 'x', 1);
SQL
attack_as_tenant('COPY FROM', "COPY shop.account FROM STDIN;\n2\t9999\tx\t1\n\\.\n", meant => qr/0A000/);
attack_as_tenant('TRUNCATE', 'TRUNCATE shop.account;', meant => qr/42501/);
attack_as_tenant('WHERE CURRENT OF', <<'SQL', meant => qr/24000|0 rows|asked/);
DECLARE c CURSOR FOR SELECT * FROM shop.account WHERE tenant_id = 2 FOR UPDATE;
FETCH c;
DELETE FROM shop.account WHERE CURRENT OF c;
SQL

# ---------------------------------------------------------------- other ways to the rows

attack_as_tenant('a partition', 'SELECT secret FROM shop.event_january; SELECT count(*) FROM shop.event_later_1;', meant => qr/^[0-9]+$/m);
attack_as_tenant('a partition of a partition, written', <<'SQL', meant => qr/asked/);
UPDATE shop.event_later SET secret = 'x' WHERE tenant_id = 2;
DELETE FROM shop.event_later_0 WHERE tenant_id = 2;
DELETE FROM shop.event_later_1 WHERE tenant_id = 2;
SELECT 'asked';
SQL
attack_as_tenant('INSERT into a partition', "INSERT INTO shop.event_january VALUES (2, '2026-01-20', 'x');", meant => qr/42501/);
attack_as_tenant('a child by inheritance', 'SELECT count(*), max(secret) FROM shop.invoice; SELECT count(*) FROM ONLY shop.paper;', meant => qr/^1\|mine$/m);
attack_as_tenant('a view with security_invoker', 'SELECT count(*), max(secret) FROM shop.proper; SELECT * FROM shop.summary;', meant => qr/^1000\|mine$/m);
attack_as_tenant('INSERT through a view', "INSERT INTO shop.proper VALUES (2, 9999, 'x', 1);", meant => qr/42501/);
attack_as_tenant("a view of the attacker's own", <<'SQL', meant => qr/^1000\|mine$/m);
CREATE VIEW playground.mine AS SELECT * FROM shop.account;
CREATE RULE more AS ON INSERT TO playground.mine DO INSTEAD DELETE FROM shop.account WHERE tenant_id = new.tenant_id;
SELECT count(*), max(secret) FROM playground.mine;
INSERT INTO playground.mine VALUES (2, 2, 'x', 1);
SQL
attack_as_tenant('SECURITY DEFINER by the owner', 'SELECT count(*), max(secret) FROM shop.definer();', meant => qr/^1000\|mine$/m);
attack_as_tenant('SECURITY DEFINER that sets no tenant', 'SELECT count(*) FROM shop.definer_reset();', meant => qr/^0$/m);
attack_as_tenant("SECURITY DEFINER of the attacker's own", <<'SQL', meant => qr/^mine$/m);
CREATE FUNCTION playground.all_of_it() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT max(secret) FROM shop.account';
SELECT playground.all_of_it();
SQL
attack('SET ROLE to the owner', 'SET ROLE shopkeeper; SELECT secret FROM shop.account;', meant => qr/42501/);
attack('SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres; SELECT secret FROM shop.account;', meant => qr/42501/);
attack('triggers off', 'SET session_replication_role = replica;', meant => qr/42501/);
attack_as_tenant("a policy's function, shadowed", <<'SQL', meant => qr/^1000\|mine$/m);
CREATE FUNCTION playground.tenant_bigint() RETURNS bigint LANGUAGE sql AS 'SELECT 2::bigint';
CREATE FUNCTION playground.tenant_crossing() RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION playground.equal(integer, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR playground.= (FUNCTION = playground.equal, LEFTARG = integer, RIGHTARG = bigint);
SET LOCAL search_path = playground, pg_catalog, architect;
SELECT count(*), max(secret) FROM shop.account;
SQL
attack('a trigger on the table', <<'SQL', meant => qr/42501/);
CREATE FUNCTION playground.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', OLD; RETURN NEW; END $$;
CREATE TRIGGER spy BEFORE UPDATE ON shop.account FOR EACH ROW EXECUTE FUNCTION playground.spy();
SQL
attack('a foreign key to the table', 'CREATE TABLE playground.probe (tenant_id integer, id integer REFERENCES shop.loose (email));', meant => qr/42501/);
attack('an index with a leaky function', 'CREATE INDEX ON shop.account ((length(secret)));', meant => qr/42501/);
attack('a policy', 'CREATE POLICY open ON shop.account USING (true);', meant => qr/42501/);
attack('row security of the table', 'ALTER TABLE shop.account DISABLE ROW LEVEL SECURITY;', meant => qr/42501/);
attack('the register', "DELETE FROM architect.tenant_registry; UPDATE architect.tenant_registry SET column_name = 'id';", meant => qr/42501.*42501/s);
attack('tenant_disable', "SELECT architect.tenant_disable('shop.account');", meant => qr/42501/);
attack('tenant_test by somebody else', "SELECT * FROM architect.tenant_test('shop.account', 'app');", meant => qr/42501/);
attack('tenant_cross without the right to it', "BEGIN; SELECT architect.tenant_cross('why not'); SELECT secret FROM shop.account;", meant => qr/42501/);
attack('who crossed', 'SELECT * FROM architect.tenant_crossings;', meant => qr/42501/);
attack('private functions', "SELECT architect._tenant_note_crossing('a', 'b', true);", meant => qr/42501/);

# ---------------------------------------------------------------- plans

attack('a generic plan, after the tenant changed', <<'SQL', meant => qr/^1000\|mine\n(.*\n)*0\|\n(.*\n)*1000\|mine$/m);
SET plan_cache_mode = force_generic_plan;
PREPARE q AS SELECT count(*), max(secret) FROM shop.account WHERE tenant_id < $1;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q(3); COMMIT;
BEGIN; SELECT architect.tenant_set(3); EXECUTE q(3); COMMIT;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q(3); COMMIT;
EXECUTE q(3);
SQL
attack('a plan made for a role without row security', <<'SQL', meant => qr/^0\|$/m, user => 'postgres');
SET plan_cache_mode = force_generic_plan;
PREPARE q AS SELECT count(*) FILTER (WHERE tenant_id <> 1), max(secret) FILTER (WHERE tenant_id <> 1) FROM shop.account;
PREPARE deep AS WITH a AS MATERIALIZED (SELECT * FROM shop.account) SELECT count(*), max(secret) FROM a WHERE id IN (SELECT id FROM shop.account WHERE tenant_id <> 1);
EXPLAIN (COSTS off) EXECUTE q;
EXPLAIN (COSTS off) EXECUTE deep;
SET ROLE app;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q; EXECUTE deep; COMMIT;
SQL
attack('a plan made where row_security was off', <<'SQL', meant => qr/42501.*^1000\|mine$/ms);
SET plan_cache_mode = force_generic_plan;
SET row_security = off;
PREPARE q AS SELECT count(*), max(secret) FROM shop.account;
SET row_security = on;
PREPARE q AS SELECT count(*), max(secret) FROM shop.account;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q; COMMIT;
SQL
attack('a plan in a function, after the tenant changed', <<'SQL', meant => qr/^0$.*^NULL$/ms);
\pset null NULL
SET plan_cache_mode = force_generic_plan;
BEGIN; SELECT architect.tenant_set(1); SELECT shop.balance_of(1); COMMIT;
BEGIN; SELECT architect.tenant_set(1); SELECT shop.balance_of(2); COMMIT;
SQL
attack('a plan of a role that may cross', <<'SQL', meant => qr/^2000\n(.*\n)*^1000$/m, user => 'postgres');
CREATE ROLE auditor;
GRANT USAGE ON SCHEMA shop TO auditor;
GRANT SELECT ON shop.account TO auditor;
GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO auditor;
SET plan_cache_mode = force_generic_plan;
SET SESSION AUTHORIZATION auditor;
PREPARE q AS SELECT count(*) FROM shop.account;
BEGIN; SELECT architect.tenant_cross('year end'); EXECUTE q; COMMIT;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q; COMMIT;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION app;
BEGIN; SELECT architect.tenant_set(1); EXECUTE q; COMMIT;
RESET SESSION AUTHORIZATION;
SQL
my $parallel = <<'SQL';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SQL
attack('parallel workers', <<SQL, meant => qr/Gather.*^1000\|mine$/ms);
$parallel
BEGIN; SELECT architect.tenant_set(1);
EXPLAIN (COSTS off) SELECT count(*), max(secret) FROM shop.account;
SELECT count(*), max(secret) FROM shop.account; COMMIT;
SQL
attack('parallel workers without a tenant', <<SQL, meant => qr/Gather.*^0\|$/ms);
$parallel
BEGIN; SELECT architect.tenant_set(1); COMMIT;
EXPLAIN (COSTS off) SELECT count(*), max(secret) FROM shop.account;
SELECT count(*), max(secret) FROM shop.account;
SQL

# ---------------------------------------------------------------- the end of a tenant

my $after = 'SELECT count(*), max(secret) FROM shop.account;';
attack('after COMMIT', "BEGIN; SELECT architect.tenant_set(2); COMMIT; $after", meant => qr/^0\|$/m);
attack('after ROLLBACK', "BEGIN; SELECT architect.tenant_set(2); ROLLBACK; $after", meant => qr/^0\|$/m);
attack('after an error', "BEGIN; SELECT architect.tenant_set(2); SELECT 1/0; ROLLBACK; $after", meant => qr/^0\|$/m);
attack('after COMMIT AND CHAIN', "BEGIN; SELECT architect.tenant_set(2); COMMIT AND CHAIN; $after", meant => qr/^0\|$/m);
attack('after PREPARE TRANSACTION', "BEGIN; SELECT architect.tenant_set(2); PREPARE TRANSACTION 'p'; $after ROLLBACK PREPARED 'p';",
	meant => qr/^0\|$/m);
attack('outside of a transaction', "SELECT architect.tenant_set(2); $after", meant => qr/^0\|$/m);
attack('after a savepoint that was rolled back', "BEGIN; SAVEPOINT s; SELECT architect.tenant_set(2); ROLLBACK TO s; $after", meant => qr/^0\|$/m);
attack('after a commit in a procedure', <<SQL, meant => qr/^0\|$/m);
CREATE OR REPLACE PROCEDURE playground.step() LANGUAGE plpgsql AS \$\$
BEGIN PERFORM architect.tenant_set(2); COMMIT; END \$\$;
CALL playground.step();
$after
SQL
attack('a cursor held over commit', <<SQL, meant => qr/^1000\|mine$/m);
BEGIN; SELECT architect.tenant_set(1);
DECLARE c CURSOR WITH HOLD FOR SELECT count(*), max(secret) FROM shop.account;
COMMIT;
BEGIN; SELECT architect.tenant_set(2); FETCH ALL FROM c; COMMIT;
SQL
attack('a second tenant in one transaction', "BEGIN; SELECT architect.tenant_set(1); SELECT architect.tenant_set(2); $after", meant => qr/25001/);
attack('a second tenant, after tenant_clear', "BEGIN; SELECT architect.tenant_set(1); SELECT architect.tenant_clear(); SELECT architect.tenant_set(2); $after",
	meant => qr/25001/);
attack('a second tenant, in a savepoint', "BEGIN; SELECT architect.tenant_set(1); SAVEPOINT s; SELECT architect.tenant_set(2); ROLLBACK TO s; $after",
	meant => qr/25001.*^1000\|mine$/ms);
attack('a second tenant, in an exception block', <<SQL, meant => qr/^1000\|mine$/m);
BEGIN; SELECT architect.tenant_set(1);
DO \$\$ BEGIN PERFORM architect.tenant_set(2); EXCEPTION WHEN OTHERS THEN NULL; END \$\$;
$after
SQL
attack('a second tenant, by a function with SET', <<SQL, meant => qr/^1000\|mine$/m);
CREATE FUNCTION playground.other() RETURNS text LANGUAGE sql SET architect.tenant_switch = off AS 'SELECT architect.tenant_set(2)';
BEGIN; SELECT architect.tenant_set(1); SAVEPOINT s; SELECT playground.other(); ROLLBACK TO s; $after
SQL
attack('UNION SELECT tenant_set', "BEGIN; SELECT architect.tenant_set(1); SELECT 'x' UNION ALL SELECT secret FROM shop.account WHERE id = 2 AND architect.tenant_set(2) IS NOT NULL;",
	meant => qr/25001|^x$/m);

# ---------------------------------------------------------------- the owner of the tables

my @keeper = (user => 'shopkeeper');
attack('the owner reads', 'BEGIN; SELECT architect.tenant_set(1); SELECT count(*), max(secret) FROM shop.account;', @keeper, meant => qr/^1000\|mine$/m);
attack('the owner turns row security off', 'BEGIN; ALTER TABLE shop.account DISABLE ROW LEVEL SECURITY; SELECT max(secret) FROM shop.account;',
	@keeper, meant => qr/42501/);
attack('the owner no longer forces it', 'BEGIN; ALTER TABLE shop.account NO FORCE ROW LEVEL SECURITY; SELECT max(secret) FROM shop.account;',
	@keeper, meant => qr/42501/);
attack('the owner adds a policy that is always true', <<'SQL', @keeper, meant => qr/^1000\|mine$/m);
BEGIN;
CREATE POLICY open ON shop.account USING (true);
SELECT architect.tenant_set(1);
SELECT count(*), max(secret) FROM shop.account;
ROLLBACK;
SQL
attack('the owner drops the policies and adds such a one', <<'SQL', @keeper, meant => qr/^1000\|mine$/m);
BEGIN;
DROP POLICY architect_tenant ON shop.account;
DROP POLICY architect_tenant_floor ON shop.account;
CREATE POLICY open ON shop.account USING (true);
SELECT architect.tenant_set(1);
SELECT count(*), max(secret) FROM shop.account;
ROLLBACK;
SQL
attack('the owner makes another partition', <<'SQL', @keeper, meant => qr/^0$/m);
BEGIN;
CREATE TABLE shop.event_2027 PARTITION OF shop.event FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
SET LOCAL architect.tenant_switch = on;
SELECT architect.tenant_set(2);
INSERT INTO shop.event_2027 VALUES (2, '2027-01-02', 'the SECRET');
SELECT architect.tenant_set(1);
SELECT count(*) FROM shop.event_2027;
ROLLBACK;
SQL

# ---------------------------------------------------------------- oracles

# No policy hides that a unique index refuses a value, or that a foreign key finds one.
like(run_script('shop', "BEGIN; SELECT architect.tenant_set(1); INSERT INTO shop.loose VALUES (1, 'their-mail');"),
	qr/23505/, 'a unique constraint without the tenant tells that a value is there');
like(run_script('shop', "BEGIN; SELECT architect.tenant_set(1); INSERT INTO shop.loose_note VALUES (1, 'their-mail'); SELECT 'accepted'; ROLLBACK;"),
	qr/accepted/, 'a foreign key without the tenant does too, and links the two');
like(run_script('shop', <<'SQL', user => 'shopkeeper'), qr/^0$/m, 'and its cascade changes rows of another');
BEGIN;
SELECT architect.tenant_set(2);
INSERT INTO shop.loose_note VALUES (2, 'mine-mail', 'crossing');
DELETE FROM shop.loose_note WHERE secret <> 'crossing';
SET LOCAL architect.tenant_switch = on;
SELECT architect.tenant_set(1);
DELETE FROM shop.loose WHERE email = 'mine-mail';
SELECT architect.tenant_set(2);
SELECT count(*) FROM shop.loose_note;
ROLLBACK;
SQL
like(run_script('shop', <<'SQL', user => 'shopkeeper'), qr/asked/, 'both get the tenant');
ALTER TABLE shop.loose DROP CONSTRAINT loose_pkey CASCADE, ADD PRIMARY KEY (tenant_id, email);
ALTER TABLE shop.loose_note ADD FOREIGN KEY (tenant_id, email) REFERENCES shop.loose ON DELETE CASCADE ON UPDATE CASCADE;
SELECT 'asked';
SQL
attack_as_tenant('the unique oracle, closed', "INSERT INTO shop.loose VALUES (1, 'their-mail'); SELECT count(*) FROM shop.loose;", meant => qr/^2$/m);
attack_as_tenant('the unique oracle by UPDATE, closed', "UPDATE shop.loose SET email = 'their-mail' RETURNING email;", meant => qr/^their-mail$/m);
attack_as_tenant('the unique oracle by ON CONFLICT DO NOTHING, closed',
	"INSERT INTO shop.loose VALUES (1, 'their-mail') ON CONFLICT DO NOTHING RETURNING 'came in';", meant => qr/^came in$/m);
attack_as_tenant('the foreign key oracle, closed', "INSERT INTO shop.loose_note VALUES (1, 'their-mail');", meant => qr/23503/);
attack_as_tenant('a cascade to another tenant, closed', "DELETE FROM shop.loose; UPDATE shop.loose SET email = 'x'; SELECT count(*) FROM shop.loose_note;",
	meant => qr/^0$/m);

# ---------------------------------------------------------------- trusted mode

$database = 'vault';
my $nonce = 0;

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

my $look = 'SELECT count(*), max(secret) FROM shop.account;';
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

# forge NAME, TOKEN, REGEX: a token that must be refused for this reason, and so give nothing.
sub forge
{
	my ($name, $token, $reason, %params) = @_;
	$token =~ s/'/''/g;
	my $argument = $params{argument} ? ", '$params{argument}'" : '';
	attack($name, "BEGIN; SELECT architect.tenant_login('$token'$argument); COMMIT; $look", meant => qr/ERROR:  (28000|42501|55000).*$reason.*^0\|$/ms, %params);
}
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

# ---------------------------------------------------------------- through a pool

$database = 'shop';
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
	my %first = (
		'SET LOCAL' => "BEGIN; SET LOCAL app.tenant_id = '2'; $read \\g /dev/null\nCOMMIT;",
		'tenant_set' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\n$read \\g /dev/null\nCOMMIT;",
		'tenant_set outside of a transaction' => "SELECT architect.tenant_set(2) \\g /dev/null",
		'tenant_set in a transaction that fails' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\nSELECT 1/0; ROLLBACK;",
		'tenant_set and COMMIT AND CHAIN' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\nCOMMIT AND CHAIN; COMMIT;",
		'tenant_set, and a client that is gone' => "BEGIN; SELECT architect.tenant_set(2) \\g /dev/null\nSELECT pg_terminate_backend(0);\n\\c",
	);
	for my $way (sort keys %first)
	{
		my $answer = $pooled->($first{$way}, $read);
		$attacks++;
		ok($answer !~ /SECRET/ && $answer =~ /^-$/m, "through PgBouncer: $way") or diag($answer);
	}
	my $token = token(tenant => '"2"');
	my $answer = $pooled->("BEGIN; SELECT architect.tenant_login('$token') \\g /dev/null\n$read \\g /dev/null\nCOMMIT;", $read, 'vault');
	$attacks++;
	ok($answer !~ /SECRET/ && $answer =~ /^-$/m, 'through PgBouncer: tenant_login') or diag($answer);
	$answer = $pooled->("BEGIN; $read \\g /dev/null\nCOMMIT;", "SELECT architect.tenant_login('$token')", 'vault');
	$attacks++;
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
	$attacks++;
	like($answer, qr{processed: 200/200\n(?!.*(error|aborted))}, 'through PgBouncer: eight clients take turns');

	kill 'INT', slurp_file("$dir/pid");
}

# ---------------------------------------------------------------- without the library

# Loaded by the first call of a function, after the session had its say about settings.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$database = 'vault';
attack('not preloaded: no tenant', $look, meant => qr/^0\|$/m);
attack('not preloaded: a hidden setting of the session', "SET architect.tenant_state = 'w0:'; $look $look", meant => qr/^0\|$|42501/m);
attack('not preloaded: a hidden setting of the connection', $look, options => '-c architect.tenant_state=w0:', meant => qr/^0\|$/m);
attack('not preloaded: out of trusted mode', "SET architect.tenant_trusted = off; SET app.tenant_id = '2'; $look $look", meant => qr/^0\|$/m);
attack('not preloaded: a startup option against trusted mode', "SET app.tenant_id = '2'; $look $look",
	options => '-c architect.tenant_trusted=off', meant => qr/^0\|$/m);
forge('not preloaded: a token that nobody could remember', token(), qr/memory/);

cmp_ok($attacks, '>=', 60, "$attacks attacks");
$node->stop;
done_testing();
