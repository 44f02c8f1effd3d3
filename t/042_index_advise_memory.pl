# A query that takes too many locks, or too much memory, is a row of the advice; the others are not in doubt.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('memory');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_architect;
CREATE TABLE plain AS SELECT i AS a, i % 100 AS b FROM generate_series(1, 50000) AS i;
ANALYZE plain;
CREATE TABLE parts (a integer, b integer) PARTITION BY RANGE (a);
SELECT format('CREATE TABLE parts_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i, i + 1)
FROM generate_series(1, 3000) AS i \gexec
SQL
$node->append_conf('postgresql.conf', <<'CONF');
max_connections = 10
max_locks_per_transaction = 10
max_worker_processes = 0
CONF
$node->restart;

my ($code, $rows, $errors) = $node->psql('postgres', 'SELECT count(*) FROM parts WHERE b = 1');
like($errors, qr/out of shared memory/, 'there are more partitions than locks');

my $advice = <<'SQL';
SELECT action, query_number, coalesce(relation::text, reason)
FROM architect.index_advise(queries => '{SELECT * FROM parts WHERE b = 1,SELECT * FROM plain WHERE a = 1}',
                            time_limit => '5min')
ORDER BY 1, 2
SQL
is($node->safe_psql('postgres', $advice), "create||plain\nskip|1|out of shared memory",
    'the query is left out, with why, and the other has its index');
is($node->safe_psql('postgres', "$advice; SELECT count(*) FROM plain"),
    "create||plain\nskip|1|out of shared memory\n50000", 'the session goes on');
is($node->safe_psql('postgres', 'SELECT error FROM architect.index_what_if(\'SELECT * FROM parts WHERE b = 1\')'),
    'out of shared memory', 'so it is with a question');

$node->stop;
done_testing();
