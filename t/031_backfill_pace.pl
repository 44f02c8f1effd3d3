# While others wait for rows of a batch, the batches become short; nothing is lost by it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Backfill;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nautovacuum = off");
$node->start;

# A row takes half a millisecond, as long as the knob is on, so a batch of a second has some thousand.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE knob AS SELECT true AS slow;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('architect.backfill_job', true) <> '' AND (SELECT knob.slow FROM knob) THEN
        PERFORM pg_sleep(0.0005);
    END IF;
    RETURN new;
END $$;
CREATE PROCEDURE touch_rows(name text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..1000000 LOOP
        EXECUTE format('UPDATE %I SET touched = touched + 1 WHERE id = %s', name, i * 7919 % 30000 + 1);
        COMMIT;
    END LOOP;
END $$;
SQL

sub batch_rows
{
	my ($job) = @_;

	return "(SELECT batch_rows FROM architect.backfill_progress WHERE job = $job)";
}

foreach my $walk ('block', 'key')
{
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE paced_$walk (id int PRIMARY KEY, v int, touched int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO paced_$walk SELECT n FROM generate_series(1, 30000) AS n;
CREATE TRIGGER slow BEFORE UPDATE ON paced_$walk FOR EACH ROW EXECUTE FUNCTION slow();
SQL
	$node->safe_psql('postgres', 'UPDATE knob SET slow = true');
	my $job = $node->safe_psql('postgres',
		"SELECT architect.backfill_start('paced_$walk', set => 'v = id', filter => 'v IS NULL', walk => '$walk', batch_time => '1s')");
	wait_for($node, batch_rows($job) . ' > 500', "$walk: batches are long while nobody waits");

	my @sessions = map { begin_session($node, "CALL touch_rows('paced_$walk')", name => 'toucher') } 1 .. 2;
	wait_for($node, batch_rows($job) . ' < 300', "$walk: they are short while others wait");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'toucher'");
	$_->{run}->finish foreach @sessions;
	$node->safe_psql('postgres', 'UPDATE knob SET slow = false');

	wait_for($node, "(SELECT state = 'done' FROM architect.backfill_jobs WHERE job = $job)", "$walk: the job ends");
	is($node->safe_psql('postgres', "SELECT count(*) FROM paced_$walk WHERE v IS DISTINCT FROM id"), '0', "$walk: all rows are changed");
}

$node->stop;
done_testing();
