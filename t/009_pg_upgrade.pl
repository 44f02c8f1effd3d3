# pg_upgrade keeps the log and the triggers, and capturing goes on.

use strict;
use warnings;

use Cwd;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old');
my $new = PostgreSQL::Test::Cluster->new('new');
my $bindir = $old->config_data('--bindir');

if (!-x "$bindir/pg_upgrade")
{
	plan skip_all => 'pg_upgrade is not installed';
}

$old->init;
$old->start;
$old->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE ROLE clerk LOGIN;
GRANT CREATE ON SCHEMA public TO clerk;
SQL
$old->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'clerk' ]);
CREATE TABLE people (gone int, id int PRIMARY KEY, card text, seen int);
ALTER TABLE people DROP gone;
CREATE TABLE events (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE TABLE feed (id int PRIMARY KEY);
SELECT architect.audit_enable('people', mask => '{card}', exclude => '{seen}', condition => 'id < 100');
SELECT architect.audit_enable('events', capture => 'full', truncate => 'rows');
SELECT architect.audit_enable('feed', replica => true);
INSERT INTO people SELECT i, '4111-' || i, 0 FROM generate_series(1, 200) AS i;
INSERT INTO events VALUES (1, 1, repeat('toasted ', 20000)), (2, 20, 'b');
UPDATE people SET card = '4222-1' WHERE id = 1;
BEGIN;
SELECT architect.audit_set_actor('alice', '{"request": "r-1"}');
DELETE FROM people WHERE id = 2;
COMMIT;
SQL

my $state = <<'SQL';
SELECT log FROM architect.audit_log AS log ORDER BY id;
SELECT registered FROM architect.audit_tables AS registered ORDER BY table_id;
SELECT to_jsonb(status) - '{log_bytes,growth_per_day}'::text[] FROM architect.audit_status AS status ORDER BY table_id;
SELECT last_value, is_called FROM architect.audit_log_id_seq;
SELECT last_value, is_called FROM architect.audit_tables_table_id_seq;
SELECT polname, polroles::regrole[], pg_get_expr(polqual, polrelid) FROM pg_policy ORDER BY polname;
SELECT relname, relkind, relacl, relrowsecurity, relreplident, pg_get_expr(relpartbound, oid)
FROM pg_class
WHERE relnamespace = 'architect'::regnamespace
ORDER BY relname;
SELECT tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid)
FROM pg_trigger
WHERE tgname LIKE 'architect%'
ORDER BY 1, 2;
SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY evtname;
SQL
my $before = $old->safe_psql('postgres', $state);
my $last = $old->safe_psql('postgres', 'SELECT max(id) FROM architect.audit_log');
$old->stop;

# The same server is old and new here: the way through pg_upgrade is the same.
$new->init;
my $here = getcwd();
chdir PostgreSQL::Test::Utils::tempdir() or die "cannot go to a new directory: $!";
command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-b', $bindir, '-B', $bindir,
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade runs');
chdir $here;
$new->start;

ok($new->safe_psql('postgres', $state) eq $before, 'log, register, triggers and rights are as they were')
  or diag($before, "\n", $new->safe_psql('postgres', $state));

# Columns are known by name from here on; what is masked stays masked.
$new->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'clerk' ]);
UPDATE people SET card = '4333-1', seen = 1 WHERE id IN (1, 150);
UPDATE people SET seen = 2;
UPDATE events SET v = 'c' WHERE id = 2;
TRUNCATE events;
SQL
$new->safe_psql('postgres', "SET session_replication_role = replica; INSERT INTO feed VALUES (1)");
is( $new->safe_psql('postgres', <<"SQL"), <<'LOG' =~ s/\n\z//r, 'capturing goes on');
SELECT table_id, table_name, record_id, operation, left(old_values::text, 31), new_values
FROM architect.audit_log
WHERE id > $last
ORDER BY id
SQL
1|people|1|UPDATE|{"card": "***"}|{"card": "***"}
2|events|["2", "20"]|UPDATE|{"v": "b", "at": 20, "id": 2}|{"v": "c", "at": 20, "id": 2}
2|events|["1", "1"]|TRUNCATE|{"v": "toasted toasted toasted |
2|events|["2", "20"]|TRUNCATE|{"v": "c", "at": 20, "id": 2}|
3|feed|1|INSERT||{"id": 1}
LOG
is( $new->safe_psql('postgres', 'SELECT count(*) FROM architect.audit_log', extra_params => [ '-U', 'clerk' ]),
	$new->safe_psql('postgres', 'SELECT count(*) FROM architect.audit_log'),
	'the owner reads old and new rows');
is($new->safe_psql('postgres', "SELECT count(*) FROM architect.audit_log AS log WHERE log::text LIKE '%4_33-%'"),
	'0', 'nothing that is masked is in the log');

$new->stop;
done_testing();
