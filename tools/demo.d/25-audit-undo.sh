# audit: a wrong UPDATE among many right ones, found, undone and proven to be gone.

chapter 'Audit: a wrong UPDATE under load'

text 'Accounts from before the audit began are put into the log once, as they are:'
sql "SELECT architect.audit_baseline('pgbench_accounts');"

text 'The tellers work all the while:' '$ pgbench -c 2 -R 200 &'
PGUSER=teller pgbench -n -c 2 -R 200 -T 3600 >/dev/null 2>&1 &
tellers=$!
before=$(value 'SELECT clock_timestamp()::timestamptz(3)')

text 'Carol is to move accounts 600001 to 610000, of branch 7, to branch 8.  A wrong digit:'
sql "
    BEGIN;
    SELECT architect.audit_set_actor('carol');
    UPDATE pgbench_accounts SET bid = 8 WHERE aid BETWEEN 100001 AND 110000;
    COMMIT;
"
text 'Bob wonders why account 100007 is in branch 8, and sets it right, he thinks:'
sql "
    BEGIN;
    SELECT architect.audit_set_actor('bob');
    UPDATE pgbench_accounts SET bid = 3 WHERE aid = 100007;
    COMMIT;
"

text 'How did it come to be in branch 3?  Its versions, whole, although the log has only what changed:'
sql "
    SELECT version, operation, changed_by, record, complete, transaction_id
    FROM architect.audit_history('pgbench_accounts', '100007');
"
wrong=$(value "
    SELECT transaction_id FROM architect.audit_history('pgbench_accounts', '100007')
    WHERE changed_by = 'carol'")

text 'What else changed since then?  The net changes of each account, counted by column:'
sql "
    SELECT array(SELECT jsonb_object_keys(new_values)) AS changed, count(*) AS accounts
    FROM architect.audit_changes('pgbench_accounts', '$before')
    GROUP BY changed
    ORDER BY changed;
"

# Accounts that are in another branch than they were before.
moved="
    SELECT past.bid AS branch_then, present.bid AS branch_now, count(*) AS accounts
    FROM architect.audit_as_of(NULL::pgbench_accounts, '$before') AS past
    JOIN pgbench_accounts AS present USING (aid)
    WHERE past.bid <> present.bid
    GROUP BY branch_then, branch_now
    ORDER BY branch_then, branch_now;
"
text 'The table as it was, joined with the table as it is:'
sql "$moved"

text 'What would undo the transaction, and what stands against it:'
sql "
    SELECT step, left(statement, 54) || ' …' AS statement, conflict
    FROM architect.audit_undo_plan('$wrong') ORDER BY step DESC LIMIT 2;
"
text 'With a conflict nothing is undone, unless it is meant:'
sql_refused "SELECT architect.audit_undo('$wrong');"
sql "SELECT architect.audit_undo('$wrong', force => true);"

text 'Nothing is left of it, and what the tellers did since has stayed:'
sql "$moved"
kill $tellers
wait $tellers || true

text 'Does the log, replayed, give the table?  No row: all accounts agree.'
sql "SELECT * FROM architect.audit_verify('pgbench_accounts');"
text 'A superuser knows how to pass by the triggers, but not by this:'
PGUSER=postgres sql "
    SET session_replication_role = replica;
    UPDATE pgbench_accounts SET abalance = abalance + 1000000 WHERE aid = $account;
"
sql "SELECT * FROM architect.audit_verify('pgbench_accounts');"

chapter 'Audit: what can be proven, and what must be forgotten'

text 'A seal over all that was logged, and a digest of it, to keep where nobody who administers' \
    'this server can change it:'
PGUSER=postgres sql 'SELECT architect.audit_seal();'
digest=$(PGUSER=postgres value 'SELECT architect.audit_digest()')
PGUSER=postgres sql 'SELECT architect.audit_digest();'

text "A customer's values go from the log, and who changed them when stays:"
sql "SELECT architect.audit_erase('pgbench_accounts', '$account', '{abalance}');"
sql "
    SELECT operation, changed_by, new_values FROM architect.audit_log
    WHERE table_name = 'pgbench_accounts' AND record_id = '$account'
    ORDER BY id;
"
text 'Somebody with all rights makes alice the one who moved account 100007:'
PGUSER=postgres sql "
    UPDATE architect.audit_log SET changed_by = 'alice'
    WHERE transaction_id = '$wrong' AND record_id = '100007';
"
text 'The seals still hold for what was erased, and name what was forged:'
PGUSER=postgres sql "
    SELECT problem, changed_by, operation, record_id, old_values, new_values
    FROM architect.audit_verify_seals(
             '$digest')
    JOIN architect.audit_log ON id = log_id;
"

text 'How long to keep what; one call a day does the rest:'
sql "
    SELECT architect.audit_retain('pgbench_accounts', '1 year'),
           architect.audit_hold('pgbench_tellers', 'case 2026-17');
"
PGUSER=postgres sql 'SELECT architect.audit_maintain();'
sql "
    SELECT relation, keep, hold, pg_size_pretty(log_bytes) AS log, pg_size_pretty(growth_per_day) AS a_day
    FROM architect.audit_status;
"
