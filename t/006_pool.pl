# The actor ends with its transaction: a pooled connection never passes it on, however
# the transaction ends.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->start;

# The column whose says who must stand in the log as the one who made the change.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE pool LOGIN;
CREATE ROLE visitor LOGIN;
CREATE TABLE work (id serial PRIMARY KEY, whose text NOT NULL, step text);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, whose text, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
GRANT ALL ON ALL TABLES IN SCHEMA public TO pool, visitor;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO pool, visitor;
SELECT architect.audit_enable('work');
SELECT architect.audit_enable('child');

-- Sets an actor and fails, or sets one and catches a failure of its own.
CREATE FUNCTION act_and_fail(actor text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM architect.audit_set_actor(actor, '{}');
    RAISE division_by_zero;
END $$;
CREATE FUNCTION act_and_catch(actor text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM act_and_fail(actor);
EXCEPTION WHEN division_by_zero THEN
    NULL;
END $$;
CREATE PROCEDURE act_twice(actor text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM architect.audit_set_actor(actor, '{}');
    INSERT INTO work (whose, step) VALUES (actor, 'before a commit in a procedure');
    COMMIT;
    INSERT INTO work (whose, step) VALUES (session_user, 'after a commit in a procedure');
    PERFORM architect.audit_set_actor(actor, '{}');
    ROLLBACK;
    INSERT INTO work (whose, step) VALUES (session_user, 'after a rollback in a procedure');
END $$;
SQL

# Rows of the log whose author is not the one that the row says, or that have an actor's
# context or session_role without an actor.
my $leaks = <<'SQL';
SELECT record_id, changed_by, session_role, context, coalesce(new_values, old_values)
FROM architect.audit_log
WHERE changed_by <> coalesce(new_values, old_values) ->> 'whose'
   OR (changed_by IN ('pool', 'visitor')) <> (session_role IS NULL)
   OR (changed_by IN ('pool', 'visitor')) <> (context IS NULL)
ORDER BY id
SQL

# One session, as a pool would use it, for many transactions.  What nobody has claimed
# is the pool's own.
my $script = <<'SQL';
\set act 'SELECT architect.audit_set_actor(''alice'', ''{"request": "r-1"}'')'
\set write 'INSERT INTO work (whose, step) VALUES (''alice'', ''claimed'')'
\set nobody 'INSERT INTO work (whose, step) VALUES (session_user, '

:nobody 'at the start');

BEGIN; :act; :write; COMMIT;
:nobody 'after a commit');

:act;
:nobody 'after a call outside of a transaction');

BEGIN; :act; :write; ROLLBACK;
:nobody 'after a rollback');

BEGIN; :act; :write; SELECT 1/0; COMMIT;
:nobody 'after an error');

SELECT act_and_fail('alice');
:nobody 'after an error outside of a transaction');

BEGIN; :act; :write; SELECT architect.audit_set_actor(''); COMMIT;
:nobody 'after an error in audit_set_actor');

BEGIN; :act; INSERT INTO child VALUES (1, 'alice', 1); COMMIT;
:nobody 'after a commit that failed');

BEGIN; :act; :write; SET LOCAL statement_timeout = 10; SELECT pg_sleep(600); COMMIT;
:nobody 'after a statement was cancelled');

BEGIN; :act; :write; COMMIT AND CHAIN;
:nobody 'after COMMIT AND CHAIN'); COMMIT;

BEGIN; :act; :write; ROLLBACK AND CHAIN;
:nobody 'after ROLLBACK AND CHAIN'); COMMIT;

BEGIN; :act; :write; PREPARE TRANSACTION 'p';
:nobody 'after PREPARE TRANSACTION');
COMMIT PREPARED 'p';
:nobody 'after COMMIT PREPARED');

BEGIN; :act; :write; CREATE TEMP TABLE t (); PREPARE TRANSACTION 'q';
:nobody 'after PREPARE TRANSACTION that failed');

BEGIN; SAVEPOINT a; :act; :write; ROLLBACK TO a;
:nobody 'after ROLLBACK TO SAVEPOINT'); COMMIT;

BEGIN; SAVEPOINT a; :act; RELEASE a; :write; COMMIT;
:nobody 'after an actor of a savepoint');

BEGIN; :act; SAVEPOINT a; SELECT architect.audit_set_actor('bob', '{"request": "r-2"}');
INSERT INTO work (whose, step) VALUES ('bob', 'in a savepoint');
ROLLBACK TO a; :write;
SELECT architect.audit_set_actor('bob', '{"request": "r-2"}');
INSERT INTO work (whose, step) VALUES ('bob', 'set again');
COMMIT;
:nobody 'after two actors');

BEGIN; :act; :write; SELECT architect.audit_set_actor(NULL);
:nobody 'after an actor was taken back'); COMMIT;

BEGIN; SELECT act_and_catch('alice');
:nobody 'after an exception that was caught'); COMMIT;

CALL act_twice('alice');
:nobody 'after a procedure');

BEGIN; :act; :write; COMMIT; DISCARD ALL;
:nobody 'after DISCARD ALL');

BEGIN; SET LOCAL ROLE pool; :act; :write; COMMIT;
:nobody 'after SET LOCAL ROLE');

BEGIN; :act; INSERT INTO parent VALUES (5); INSERT INTO child VALUES (5, 'alice', 5); COMMIT;
:nobody 'after deferred constraints');

BEGIN; :act; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM work; :write; COMMIT; FETCH 1 FROM c;
:nobody 'beside a cursor that outlives its transaction');
SQL
my @nobody = $script =~ /^:nobody/mg;

my ($out, $err);
$node->psql('postgres', $script,
	extra_params => [ '-U', 'pool' ], on_error_stop => 0, stdout => \$out, stderr => \$err);
is($node->safe_psql('postgres', $leaks), '', 'every change has the author that it should have');
is( $node->safe_psql('postgres', "SELECT count(*) FROM work WHERE whose = 'pool' AND step NOT LIKE '%in a procedure'"),
	@nobody, 'every way to end a transaction was tried');
is( $node->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE changed_by = 'pool' AND context IS NOT NULL"),
	'0', 'the context goes with the actor');
is( $node->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log WHERE session_role = 'pool'"),
	$node->safe_psql('postgres', "SELECT (SELECT count(*) FROM work WHERE whose IN ('alice', 'bob')) + (SELECT count(*) FROM child)"),
	'beside an actor stands the role of the pool');
my @unexpected = grep { !/division.by.zero|actor must not be empty|foreign key|statement timeout|temporary objects/ }
  ($err =~ /ERROR:  (.*)/g);
is(join("\n", @unexpected), '', 'nothing else failed');

# A session that becomes another user writes under that name.
$node->safe_psql('postgres', 'TRUNCATE work');
$node->safe_psql('postgres', <<'SQL');
\set write 'INSERT INTO work (whose) VALUES (session_user)'
SET SESSION AUTHORIZATION pool;
:write;
SET SESSION AUTHORIZATION visitor;
:write;
BEGIN;
:write;
SET LOCAL SESSION AUTHORIZATION pool;
:write;
COMMIT;
:write;
RESET SESSION AUTHORIZATION;
ALTER ROLE pool RENAME TO renamed;
SET SESSION AUTHORIZATION renamed;
:write;
SQL
is( $node->safe_psql('postgres', <<'SQL'), 'pool, visitor, visitor, pool, visitor, renamed', 'the session user is the one at the time');
SELECT string_agg(changed_by, ', ' ORDER BY id) FROM architect.audit_log WHERE table_name = 'work' AND operation = 'INSERT'
  AND id > (SELECT max(id) FROM architect.audit_log WHERE operation = 'TRUNCATE')
SQL
$node->safe_psql('postgres', 'ALTER ROLE renamed RENAME TO pool');

# Many clients at once, a part of the transactions with an actor, a part of them undone.
$node->safe_psql('postgres', 'TRUNCATE work; DELETE FROM architect.audit_log');
my $claimed = <<'SQL';
\set who random(1, 1000000)
BEGIN;
SELECT architect.audit_set_actor('user ' || :who, '{"request": "r"}');
INSERT INTO work (whose, step) VALUES ('user ' || :who, 'one');
INSERT INTO work (whose, step) VALUES ('user ' || :who, 'two');
SQL
$node->pgbench(
	'--no-vacuum --client=4 --transactions=300 --username=pool',
	0,
	[qr{number of transactions actually processed: 1200/1200}],
	[qr{^$}],
	'clients share connections',
	{
		'006_claimed' => "${claimed}COMMIT;\n",
		'006_undone' => "${claimed}ROLLBACK;\n",
		'006_unclaimed' => "INSERT INTO work (whose, step) VALUES (session_user, 'alone');\n"
	});
is($node->safe_psql('postgres', $leaks), '', 'no client writes under the name of another');
is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT record_id) FROM architect.audit_log'),
	$node->safe_psql('postgres', 'SELECT count(*), count(*) FROM work'),
	'every change is there once');

$node->stop;
done_testing();
