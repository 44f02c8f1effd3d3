# What an attacker tries who can run any SQL as the application: to read another
# tenant's rows, to change them, to learn of them.  Each attack has a name, is checked
# to have run as it was meant, and must show nothing and change nothing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Attack;
use Test::More;

open_shop('shop');

# First of all: the attacks would be seen if they went through.
like(run_script('shop', 'SELECT max(secret) FROM shop.account', user => 'postgres'), qr/SECRET/, 'there is a secret');
ok(is_noticed(), 'and a change of it would be noticed');

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
EXPLAIN SELECT count(*) FROM shop.event WHERE secret OPERATOR(playground.<<<) 'x';
EXPLAIN SELECT count(*) FROM shop.event_january WHERE secret OPERATOR(playground.<<<) 'x';
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
INSERT INTO shop.loose VALUES (1, 9, 'their-mail') ON CONFLICT (email) DO UPDATE SET tenant_id = 1 RETURNING *;
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
attack('a role set and taken back in savepoints',
	"BEGIN; SAVEPOINT s; SET LOCAL ROLE app; ROLLBACK TO s; RESET ROLE; RESET SESSION AUTHORIZATION; SELECT current_user; $look", meant => qr/^app\n0\|$/m);
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

attack('after COMMIT', "BEGIN; SELECT architect.tenant_set(2); COMMIT; $look", meant => qr/^0\|$/m);
attack('after ROLLBACK', "BEGIN; SELECT architect.tenant_set(2); ROLLBACK; $look", meant => qr/^0\|$/m);
attack('after an error', "BEGIN; SELECT architect.tenant_set(2); SELECT 1/0; ROLLBACK; $look", meant => qr/^0\|$/m);
attack('after COMMIT AND CHAIN', "BEGIN; SELECT architect.tenant_set(2); COMMIT AND CHAIN; $look", meant => qr/^0\|$/m);
attack('after PREPARE TRANSACTION', "BEGIN; SELECT architect.tenant_set(2); PREPARE TRANSACTION 'p'; $look ROLLBACK PREPARED 'p';",
	meant => qr/^0\|$/m);
attack('outside of a transaction', "SELECT architect.tenant_set(2); $look", meant => qr/^0\|$/m);
attack('after a savepoint that was rolled back', "BEGIN; SAVEPOINT s; SELECT architect.tenant_set(2); ROLLBACK TO s; $look", meant => qr/^0\|$/m);
attack('after a commit in a procedure', <<SQL, meant => qr/^0\|$/m);
CREATE OR REPLACE PROCEDURE playground.step() LANGUAGE plpgsql AS \$\$
BEGIN PERFORM architect.tenant_set(2); COMMIT; END \$\$;
CALL playground.step();
$look
SQL
attack('a cursor held over commit', <<SQL, meant => qr/^1000\|mine$/m);
BEGIN; SELECT architect.tenant_set(1);
DECLARE c CURSOR WITH HOLD FOR SELECT count(*), max(secret) FROM shop.account;
COMMIT;
BEGIN; SELECT architect.tenant_set(2); FETCH ALL FROM c; COMMIT;
SQL
attack('a second tenant in one transaction', "BEGIN; SELECT architect.tenant_set(1); SELECT architect.tenant_set(2); $look", meant => qr/25001/);
attack('a second tenant, after tenant_clear', "BEGIN; SELECT architect.tenant_set(1); SELECT architect.tenant_clear(); SELECT architect.tenant_set(2); $look",
	meant => qr/25001/);
attack('a second tenant, in a savepoint', "BEGIN; SELECT architect.tenant_set(1); SAVEPOINT s; SELECT architect.tenant_set(2); ROLLBACK TO s; $look",
	meant => qr/25001.*^1000\|mine$/ms);
attack('a second tenant, in an exception block', <<SQL, meant => qr/^1000\|mine$/m);
BEGIN; SELECT architect.tenant_set(1);
DO \$\$ BEGIN PERFORM architect.tenant_set(2); EXCEPTION WHEN OTHERS THEN NULL; END \$\$;
$look
SQL
attack('a second tenant, by a function with SET', <<SQL, meant => qr/^1000\|mine$/m);
CREATE FUNCTION playground.other() RETURNS text LANGUAGE sql SET architect.tenant_switch = off AS 'SELECT architect.tenant_set(2)';
BEGIN; SELECT architect.tenant_set(1); SAVEPOINT s; SELECT playground.other(); ROLLBACK TO s; $look
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
like(run_script('shop', "BEGIN; SELECT architect.tenant_set(1); INSERT INTO shop.loose VALUES (1, 9, 'their-mail');"),
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
like(run_script('shop', <<'SQL', user => 'shopkeeper'), qr/asked/, 'tenant_enable with fix puts the tenant into both');
SELECT architect.tenant_enable('shop.loose_note', fix => true);
SELECT architect.tenant_enable('shop.loose', fix => true);
SELECT 'asked';
SQL
attack_as_tenant('the unique oracle, closed', "INSERT INTO shop.loose VALUES (1, 9, 'their-mail'); SELECT count(*) FROM shop.loose;", meant => qr/^2$/m);
attack_as_tenant('the unique oracle by UPDATE, closed', "UPDATE shop.loose SET email = 'their-mail' RETURNING email;", meant => qr/^their-mail$/m);
attack_as_tenant('the unique oracle by ON CONFLICT DO NOTHING, closed',
	"INSERT INTO shop.loose VALUES (1, 9, 'their-mail') ON CONFLICT DO NOTHING RETURNING 'came in';", meant => qr/^came in$/m);
attack_as_tenant('the foreign key oracle, closed', "INSERT INTO shop.loose_note VALUES (1, 'their-mail');", meant => qr/23503/);
attack_as_tenant('a cascade to another tenant, closed', "DELETE FROM shop.loose; UPDATE shop.loose SET email = 'x'; SELECT count(*) FROM shop.loose_note;",
	meant => qr/^0$/m);

my $attacks = count_attack();
cmp_ok($attacks, '>=', 60, "$attacks attacks");
$node->stop;
done_testing();
