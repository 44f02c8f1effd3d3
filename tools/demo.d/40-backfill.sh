# backfill: a new column is filled while the counter works.

chapter 'Backfill: a new column for a million accounts, and nobody waits'

text 'The counter works all the while, each transaction for one branch:' '$ pgbench -c 2 -R 200 -f counter.sql &'
cat >"$work/counter.sql" <<'SQL'
\set branch random(1, 10)
\set account (:branch - 1) * 100000 + random(1, 100000)
\set amount random(-500, 500)
BEGIN;
SELECT architect.tenant_set(:branch);
UPDATE pgbench_accounts SET abalance = abalance + :amount WHERE aid = :account;
END;
SQL
PGUSER=counter pgbench -n -c 2 -R 200 -T 3600 -P 1 -f "$work/counter.sql" >"$work/counter.log" 2>&1 &
counter=$!

text 'Balances shall be kept in cents.  The column comes empty, so this takes no time; a trigger fills it for' \
    'rows that the counter changes from now on, and the audit does not need it:'
sql "
    BEGIN;
    ALTER TABLE pgbench_accounts ADD balance_cents bigint;
    CREATE FUNCTION keep_cents() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN new.balance_cents := new.abalance::bigint * 100; RETURN new; END';
    CREATE TRIGGER keep_cents BEFORE INSERT OR UPDATE OF abalance ON pgbench_accounts
        FOR EACH ROW EXECUTE FUNCTION keep_cents();
    COMMIT;
    SELECT architect.audit_enable('pgbench_accounts', exclude => '{filler,balance_cents}');
"

fill="'pgbench_accounts', set => 'balance_cents = abalance::bigint * 100',
        filter => 'balance_cents IS NULL'"
text 'The policies of the last chapter hold the owner too.  Rows that bank cannot see are not passed by in silence:'
sql_refused "SELECT architect.backfill_start($fill);"
PGUSER=postgres sql '
    CREATE ROLE maintenance LOGIN BYPASSRLS;
    GRANT bank, pg_monitor TO maintenance;
'
text 'A typing mistake is found before anything is done:'
PGUSER=maintenance sql_refused "
    SELECT architect.backfill_start('pgbench_accounts', set => 'balance_cents = balance::bigint * 100');
"

text 'What will it take?  A small part is changed to see, and rolled back:'
PGUSER=maintenance sql "
    SELECT rows, seconds, pg_size_pretty(wal_bytes) AS wal, pg_size_pretty(heap_growth_bytes) AS heap_growth,
           pg_size_pretty(index_growth_bytes) AS index_growth
    FROM architect.backfill_estimate($fill);
"
heap=$(value "SELECT pg_relation_size('pgbench_accounts')")
text 'It runs in the background, in batches of a fifth of a second, no faster than 20 MB of WAL a second:'
PGUSER=maintenance sql "
    SELECT architect.backfill_start($fill, max_wal_rate => 20000000) AS job;
"
job=$(PGUSER=maintenance value 'SELECT max(job) FROM architect.backfill_jobs')

# How far it is.
progress() {
    PGUSER=maintenance sql "
    SELECT state, rows_done, rows_left, rows_per_second, eta::time(0), batch_rows, hot_share, waiting_for
    FROM architect.backfill_progress WHERE job = $job;
"
}
for pause in 2 2; do
    sleep $pause
    progress
done
text 'Somebody is worried.  It stops within a batch, and goes on where it was:'
PGUSER=maintenance sql "SELECT architect.backfill_pause($job);"
sleep 1
progress
PGUSER=maintenance sql "
    SELECT architect.backfill_configure($job, max_wal_rate => 0);
    SELECT architect.backfill_resume($job);
"
while [[ $(PGUSER=maintenance value "SELECT state FROM architect.backfill_jobs WHERE job = $job") =~ waiting|running ]]; do
    sleep 2
    progress
done
PGUSER=maintenance sql "SELECT at::time(0), event, detail FROM architect.backfill_events WHERE job = $job ORDER BY at;"

text 'Nothing is missing, so it can be demanded; the check of the old rows lets the counter work:'
sql '
    ALTER TABLE pgbench_accounts ADD CONSTRAINT balance_cents_given CHECK (balance_cents IS NOT NULL) NOT VALID;
    ALTER TABLE pgbench_accounts VALIDATE CONSTRAINT balance_cents_given;
'
PGUSER=maintenance sql 'SELECT count(*), count(*) FILTER (WHERE balance_cents <> abalance * 100) AS wrong FROM pgbench_accounts;'
text 'One UPDATE would have doubled the table.  In percent, it has grown by:'
value "SELECT pg_relation_size('pgbench_accounts') * 100 / $heap - 100"

kill $counter
wait $counter || true
text 'And what did the counter notice?  Its latency, second by second:'
sed -n 's/^progress: \([0-9.]*\) s, \([0-9.]*\) tps, lat \([0-9.]*\) ms.* \([0-9]*\) failed.*/\1 \2 \3 \4/p' "$work/counter.log" |
    awk '{ n++; sum += $3; if ($3 > most) most = $3; failed += $4 }
        END { printf "%d seconds, %.1f ms a transaction, %.1f ms in the slowest second, %d failed\n", n, sum / n, most, failed }'
