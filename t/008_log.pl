# The log as a table: its partitions cover time without gap or overlap, no row is ever lost
# for want of one, and what an administrator adds to it is kept or refused clearly.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('template1', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE items (id int PRIMARY KEY, v text);

-- The times that the partitions of the log cover.
CREATE FUNCTION bounds() RETURNS TABLE (name text, lower timestamptz, upper timestamptz)
LANGUAGE sql SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT class.relname, bound[1]::timestamptz, bound[2]::timestamptz
    FROM pg_inherits
    JOIN pg_class AS class ON class.oid = inhrelid
    CROSS JOIN regexp_match(pg_get_expr(relpartbound, class.oid), $re$FROM \('(.*)'\) TO \('(.*)'\)$re$) AS bound
    WHERE inhparent = to_regclass('architect.audit_log') AND bound IS NOT NULL
    ORDER BY 2
$$;

-- What is wrong with them: holes, or no partition for now or for some time ahead.
CREATE FUNCTION uncovered(ahead interval) RETURNS SETOF text LANGUAGE sql SET timezone = 'UTC' AS $$
    SELECT 'hole before ' || name
    FROM (SELECT name, lower, lag(upper) OVER (ORDER BY lower) AS last_upper FROM bounds()) AS part
    WHERE lower <> last_upper
    UNION ALL
    SELECT 'no partition for ' || moment
    FROM (VALUES (now()), (now() + ahead)) AS needed (moment)
    WHERE NOT EXISTS (SELECT FROM bounds() WHERE lower <= moment AND upper > moment)
$$;

-- Drops partitions, for the time between these moments, or all.
CREATE PROCEDURE drop_partitions(since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT name FROM bounds() WHERE upper > since AND lower < until LOOP
        EXECUTE format('DROP TABLE architect.%I', part.name);
    END LOOP;
END $$;
SQL

# Runs a script as one session and returns its answers and errors.
sub session
{
	my ($database, $sql) = @_;
	my ($out, $err);

	$node->psql($database, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 0);
	return ($out, $err);
}

my $rows = 'SELECT log FROM architect.audit_log AS log ORDER BY id';
my $ahead = { day => '10 days', week => '6 weeks', month => '2 months' };

# ---------------------------------------------------------------- partitions

# The first audit_enable makes partitions for now and for some time to come, whatever
# the session's settings are; each covers a whole day, week or month of UTC.
foreach my $unit (qw(day week month))
{
	$node->safe_psql('postgres', "CREATE DATABASE each_$unit");
	is( $node->safe_psql("each_$unit", <<"SQL"), '0', "$unit: the log is made with all that audit_maintain would make");
SET architect.audit_partition = '$unit';
SET timezone = 'Pacific/Chatham';
SET datestyle = 'German, DMY';
BEGIN;
SELECT FROM architect.audit_enable('items');
SELECT architect.audit_maintain();
COMMIT;
SQL
	is($node->safe_psql("each_$unit", "SELECT * FROM uncovered('$ahead->{$unit}')"), '', "$unit: the log has partitions ahead of need");
	is( $node->safe_psql("each_$unit", <<"SQL"), '0', "$unit: a partition covers a whole $unit");
SET timezone = 'UTC';
SELECT count(*) FROM bounds() WHERE lower <> date_trunc('$unit', lower) OR upper <> lower + interval '1 $unit'
SQL
	is( $node->safe_psql("each_$unit", <<'SQL'), '2|t', "$unit: a row goes to the partition of its time");
INSERT INTO items VALUES (1), (2);
SELECT count(*), bool_and(lower <= changed_at AND changed_at < upper)
FROM architect.audit_log AS log
JOIN bounds() ON 'architect.' || name = log.tableoid::regclass::text
SQL
}

# When the unit is changed, the log goes on without a hole.
foreach my $unit (qw(week month day month week day))
{
	is( $node->safe_psql('each_day', <<"SQL"), "t\n0", "the unit may change to $unit, and asked again audit_maintain makes nothing");
SET architect.audit_partition = '$unit';
BEGIN;
SELECT architect.audit_maintain() >= 0;
SELECT architect.audit_maintain();
COMMIT;
SQL
	is($node->safe_psql('each_day', "SELECT * FROM uncovered('$ahead->{$unit}')"), '', "with a $unit too the log has no hole");
}

# Rows for whose time there is no partition go to the default partition, from where
# audit_maintain moves them to a partition of their own, unchanged.
foreach my $case ([ 'all partitions', '' ], [ 'the current partition', 'now(), now()' ])
{
	my ($missing, $dropped) = @$case;
	$node->safe_psql('each_month', <<"SQL");
DELETE FROM items;
CALL drop_partitions($dropped);
INSERT INTO items SELECT i, repeat('v', 5 * i) FROM generate_series(1, 3000) AS i;
SQL
	is($node->safe_psql('each_month', 'SELECT count(*) FROM architect.audit_log_default'), '3000',
		"without $missing rows go to the default partition");
	my $before = $node->safe_psql('each_month', $rows);
	is( $node->safe_psql('each_month', <<'SQL'), "t\n0", "audit_maintain makes $missing anew and moves the rows there");
SELECT architect.audit_maintain() > 0;
SELECT count(*) FROM architect.audit_log_default;
SQL
	ok($node->safe_psql('each_month', $rows) eq $before, "without $missing nothing was lost");
	is($node->safe_psql('each_month', "SELECT * FROM uncovered('2 months')"), '', "after audit_maintain $missing are there");
}

# The same, long after: rows of a time without a partition get one, empty times get none.
$node->safe_psql('each_month', <<'SQL');
INSERT INTO architect.audit_log
SELECT -i, now() - interval '400 days', '3', 1, 'INSERT', 'public', 'items', i, 'somebody'
FROM generate_series(1, 10) AS i
SQL
my $before = $node->safe_psql('each_month', $rows);
is( $node->safe_psql('each_month', <<'SQL'), 't|1', 'a past month with rows gets its partition, those between get none');
BEGIN;
SELECT FROM architect.audit_maintain();
SELECT count(*) > 0, count(*) FILTER (WHERE upper < now() - interval '200 days') FROM bounds();
COMMIT;
SQL
is($node->safe_psql('each_month', 'SELECT count(*) FROM architect.audit_log_default'), '0', 'old rows are moved too');
ok($node->safe_psql('each_month', $rows) eq $before, 'old rows are not lost');

# A publication of all tables is in nobody's way.
is( $node->safe_psql('each_week', <<'SQL') =~ s/^.*\n//r, 't', 'a publication of all tables does not stop audit_maintain');
SET client_min_messages = error;
CREATE PUBLICATION everything FOR ALL TABLES;
CALL drop_partitions();
INSERT INTO items VALUES (10);
SELECT architect.audit_maintain() > 0;
DROP PUBLICATION everything;
SQL

# Without any partition that could take the row a change is refused, and audit_maintain
# heals that.  The session then goes on.
my ($out, $err) = session('each_week', <<'SQL');
CALL drop_partitions();
DROP TABLE architect.audit_log_default;
INSERT INTO items VALUES (20);
SELECT architect.audit_maintain() > 0;
INSERT INTO items VALUES (21);
CALL drop_partitions();
DROP TABLE architect.audit_log_default;
CREATE TABLE architect.elsewhere PARTITION OF architect.audit_log FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
INSERT INTO items VALUES (22);
SELECT architect.audit_maintain() > 0;
INSERT INTO items VALUES (23);
SELECT string_agg(record_id, ' ' ORDER BY id) FROM architect.audit_log;
SELECT count(*) FROM items WHERE id BETWEEN 20 AND 23;
SQL
like($err, qr/ERROR:  55000: table "architect.audit_log" has no partition\nHINT:  Call architect.audit_maintain\./,
	'without a partition a change is refused');
like($err, qr/ERROR:  55000: table "architect.audit_log" has no partition for now, and no default partition\nHINT:  Call architect.audit_maintain\./,
	'without a default partition a change outside of the others is refused');
is($out, "t\nt\n23\n2", 'audit_maintain heals a log without partitions');

# Without the log, or its sequence, a change is refused; audit_enable makes a new log.
($out, $err) = session('each_week', <<'SQL');
DROP TABLE architect.audit_log;
INSERT INTO items VALUES (30);
SELECT architect.audit_maintain();
SELECT architect.audit_enable('items');
INSERT INTO items VALUES (31);
SELECT string_agg(record_id, ' ' ORDER BY id) FROM architect.audit_log;
SQL
like($err, qr/ERROR:  42P01: relation "architect.audit_log(_id_seq)?" does not exist\n.*HINT:  [^\n]*call architect.audit_enable/s,
	'without the log a change is refused');
like($err, qr/NOTICE:  00000: there is no audit log yet/, 'without the log audit_maintain has nothing to do');
is($out, "0\n\n31", 'audit_enable makes a new log');

# ---------------------------------------------------------------- what an administrator adds

$node->safe_psql('postgres', 'CREATE DATABASE own');
$node->safe_psql('own', <<'SQL');
SELECT architect.audit_enable('items');
CREATE UNIQUE INDEX own_unique ON architect.audit_log (id, changed_at);
CREATE INDEX own_partial ON architect.audit_log (record_id) WHERE operation = 'DELETE';
CREATE INDEX own_expression ON architect.audit_log ((new_values ->> 'v'));
CREATE INDEX own_gin ON architect.audit_log USING gin (new_values);
CREATE INDEX own_brin ON architect.audit_log USING brin (changed_at);
CREATE INDEX own_hash ON architect.audit_log USING hash (changed_by);
ALTER TABLE architect.audit_log ADD CONSTRAINT own_check CHECK (record_id <> '666' AND new_values ->> 'v' IS DISTINCT FROM 'forbidden');
CREATE STATISTICS own_statistics ON operation, table_name FROM architect.audit_log;
INSERT INTO items SELECT i, 'v' || i % 10 FROM generate_series(1, 600) AS i;
UPDATE items SET v = 'w' || id % 10 WHERE id % 3 = 0;
DELETE FROM items WHERE id % 5 = 0;
SQL

# A row that a constraint refuses takes the change along, once, in bulk or in a savepoint,
# and the session can go on.
($out, $err) = session('own', <<'SQL');
INSERT INTO items SELECT i FROM generate_series(601, 700) AS i;
INSERT INTO items SELECT i FROM generate_series(601, 650) AS i;
INSERT INTO items VALUES (666);
INSERT INTO items SELECT i FROM generate_series(651, 665) AS i;
BEGIN;
INSERT INTO items SELECT i, repeat('large', 10000) FROM generate_series(2001, 2200) AS i;
SAVEPOINT a;
UPDATE items SET v = 'forbidden' WHERE id = 1;
ROLLBACK TO a;
INSERT INTO items SELECT i FROM generate_series(2301, 2400) AS i;
COMMIT;
DO $$
BEGIN
    FOR i IN 3001..3100 LOOP
        BEGIN
            INSERT INTO items VALUES (i, CASE WHEN i % 2 = 0 THEN 'forbidden' ELSE repeat('x', i) END);
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT 'still here';
SQL
is($out, 'still here', 'a session survives what a constraint refuses');
is(() = $err =~ /ERROR:  23514: new row for relation "audit_log_\w+" violates check constraint "own_check"/g,
	3, 'a constraint refuses each time');
is( $node->safe_psql('own', <<'SQL'), '0|0', 'the log has just what was not refused');
SELECT count(*) FILTER (WHERE logged.id IS NULL), count(*) FILTER (WHERE items.id IS NULL)
FROM items
FULL JOIN (SELECT record_id::int AS id
           FROM architect.audit_log
           GROUP BY record_id
           HAVING count(*) FILTER (WHERE operation = 'DELETE') = 0) AS logged ON logged.id = items.id
SQL

# Each index finds what a sequential scan finds.
foreach my $condition (
	"record_id = '30' AND operation = 'DELETE'",
	"new_values ->> 'v' = 'w3'",
	q(new_values @> '{"id": 77}'),
	q(changed_at > now() - interval '1 day'),
	q(changed_by = session_user),
	q(id BETWEEN 50 AND 80))
{
	my $count = "SELECT count(*) > 0, count(*) FROM architect.audit_log WHERE $condition";
	my $scanned = $node->safe_psql('own', "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; $count");
	like($scanned, qr/^t/, "there are rows where $condition");
	is($node->safe_psql('own', "SET enable_seqscan = off; $count"), $scanned, "an index finds those where $condition");
}

# New partitions have all of it too.
is( $node->safe_psql('own', <<'SQL'), 't|t', 'new partitions have the indexes and constraints of the log');
CALL drop_partitions();
SELECT FROM architect.audit_maintain();
SELECT bool_and((SELECT count(*) FROM pg_index WHERE indrelid = name) = (SELECT count(*) FROM pg_index WHERE indrelid = 'architect.audit_log'::regclass)),
       bool_and((SELECT count(*) FROM pg_constraint WHERE conrelid = name AND contype = 'c') = 1)
FROM (SELECT ('architect.' || name)::regclass AS name FROM bounds()) AS part
SQL
($out, $err) = session('own', 'INSERT INTO items VALUES (666)');
like($err, qr/violates check constraint "own_check"/, 'and the constraints count there');

# A log of another shape is refused, as is a partition that is no plain table; once it is
# as before, all works again.
$node->safe_psql('own', 'ALTER TABLE architect.audit_log DROP CONSTRAINT own_check');
my $id = 10000;
foreach my $case (
	[ 'ADD own int DEFAULT 7', 'DROP own' ],
	[ 'RENAME record_id TO record', 'RENAME record TO record_id' ],
	[ 'ALTER context TYPE json', 'ALTER context TYPE jsonb' ],
	[ 'ALTER operation TYPE varchar(20)', 'ALTER operation TYPE text' ])
{
	my ($change, $back) = @$case;
	$id += 2;
	my $next = $id + 1;
	($out, $err) = session('own', <<"SQL");
ALTER TABLE architect.audit_log $change;
INSERT INTO items VALUES ($id, 'refused');
ALTER TABLE architect.audit_log $back;
INSERT INTO items VALUES ($next, 'taken');
SELECT record_id, new_values ->> 'v' FROM architect.audit_log ORDER BY id DESC LIMIT 1;
SQL
	like($err, qr/^[^\n]*ERROR:  55000: table "audit_log_\w+" (is not a partition that the audit log can use|has not the columns of the audit log)\n/,
		"$change: the change is refused");
	is($out, "$next|taken", "$back: changes are captured again");
}

($out, $err) = session('own', <<'SQL');
DROP INDEX architect.own_unique;
CALL drop_partitions();
DROP TABLE architect.audit_log_default;
CREATE TABLE architect.audit_log_default PARTITION OF architect.audit_log DEFAULT PARTITION BY LIST (table_id);
CREATE TABLE architect.audit_log_all PARTITION OF architect.audit_log_default DEFAULT;
INSERT INTO items VALUES (30000, 'sub');
DROP TABLE architect.audit_log_default;
SELECT architect.audit_maintain() > 0;
INSERT INTO items VALUES (30001, 'plain');
SELECT string_agg(record_id, ' ') FROM architect.audit_log;
SQL
like($err, qr/^[^\n]*ERROR:  55000: table "audit_log_default" is not a partition that the audit log can use\n/,
	'a partition of partitions is refused');
is($out, "t\n30001", 'with plain partitions all works again');

$node->stop;
done_testing();
