# audit: who changed what.

chapter 'Audit: who changed what'

# Transactions a second of pgbench's own TPC-B-like transaction.
rate() {
    PGUSER=teller PGOPTIONS='-c synchronous_commit=off' pgbench -n -c 2 -j 2 -T "$seconds" |
        sed -n 's/^tps = \([0-9]*\).*/\1/p'
}

text 'The rate before:' "\$ pgbench -c 2 -T $seconds"
before=$(rate)
echo "$before transactions a second"

sql "
    SELECT architect.audit_enable('pgbench_accounts', exclude => '{filler}'),
           architect.audit_enable('pgbench_tellers'),
           architect.audit_enable('pgbench_branches');
"
text 'pgbench_history has no key by which to tell its rows apart:'
sql_refused "SELECT architect.audit_enable('pgbench_history');"

text 'The rate with three of five statements audited:' "\$ pgbench -c 2 -T $seconds"
after=$(rate)
echo "$after transactions a second: $((100 * after / before)) % of $before"

# An account that pgbench changed more than once.
account=$(value "
    SELECT record_id FROM architect.audit_log
    WHERE table_name = 'pgbench_accounts'
    GROUP BY record_id ORDER BY count(*) DESC, record_id LIMIT 1")

text 'An application says in whose name it acts.  That ends with the transaction.'
PGUSER=teller sql "
    BEGIN;
    SELECT architect.audit_set_actor('alice', '{\"request\": \"r-1001\"}');
    UPDATE pgbench_accounts SET abalance = abalance - 500 WHERE aid = $account;
    UPDATE pgbench_accounts SET abalance = abalance + 500 WHERE aid = $account % 1000000 + 1;
    COMMIT;
    UPDATE pgbench_accounts SET abalance = 0 WHERE aid = $account;
"

text "One account's history:"
sql "
    SELECT changed_at::time(0), changed_by, operation, old_values, new_values
    FROM architect.audit_log
    WHERE table_name = 'pgbench_accounts' AND record_id = '$account'
    ORDER BY id;
"

text 'Who changed what in one transaction:'
transaction=$(value "
    SELECT transaction_id FROM architect.audit_log
    WHERE changed_by = 'alice' ORDER BY id DESC LIMIT 1")
sql "
    SELECT table_name, record_id, old_values, new_values, changed_by, context
    FROM architect.audit_log
    WHERE transaction_id = '$transaction'
    ORDER BY id;
"

text 'The teller, who made these changes, cannot read the log, let alone change it:'
PGUSER=teller sql 'SELECT count(*) FROM architect.audit_log;'
PGUSER=teller sql_refused 'DELETE FROM architect.audit_log;'

text 'The size of the log:'
sql "
    SELECT changes, pg_size_pretty(bytes) AS size, round(bytes / changes) AS bytes_per_change
    FROM (SELECT count(*) AS changes FROM architect.audit_log) AS log,
         (SELECT sum(pg_total_relation_size(relid)) AS bytes
          FROM pg_partition_tree('architect.audit_log')) AS partitions;
"

text 'What is audited, and how:'
sql 'SELECT * FROM architect.audit_status;'
