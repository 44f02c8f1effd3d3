# shellcheck shell=bash
# What the benchmarks of backfill share: a table that is filled anew for each way to change it, and
# what each way costs.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is done, by one UPDATE and by us.
plain='UPDATE orders SET total_cents = (total * 100)::bigint WHERE total_cents IS NULL'
arguments="'orders', set => 'total_cents = (total * 100)::bigint', filter => 'total_cents IS NULL'"
ours="CALL architect.backfill($arguments)"
heap="pg_relation_size('orders')" indexes="pg_indexes_size('orders')"

make_source() { run -v rows="$1" -f "$work/src/bench/backfill.sql"; }

# fill [ROWS [KEY [OPTION]]]: the table anew, with full pages unless a storage option says otherwise, and
# with indexes as they grow row by row.  KEY is id, a uuid, or number, a bigint in the order of the rows.
note=note
fill() {
    run -c 'DROP TABLE IF EXISTS orders' -c 'SET synchronize_seqscans = off' \
        -c "CREATE TABLE orders ${3:+WITH ($3)} AS
            SELECT ${2-id} AS id, customer_id, total, status, note, created_at FROM source LIMIT 0" \
        -c 'ALTER TABLE orders ADD PRIMARY KEY (id)' -c 'CREATE INDEX ON orders (customer_id)' \
        -c "INSERT INTO orders SELECT ${2-id}, customer_id, total, status, $note, created_at FROM source LIMIT ${1-$rows}" \
        -c 'ALTER TABLE orders ADD total_cents bigint' -c 'VACUUM ANALYZE orders' -c CHECKPOINT
}

# The rows as one value, wherever they are.
digest() { run -c 'SELECT count(*), sum(hashtextextended(orders::text, 0)) FROM orders'; }

share() { awk -v now="$1" -v before="$2" 'BEGIN { print (now - before) / before * 100 }'; }

# measure NAME STATEMENT [BEFORE...]: runs it on the table as it is; notes its time, what it wrote to the
# log, and by how much heap and indexes grew, in percent.
measure() {
    local name=$1 before
    read -ra before <<<"$(run -F ' ' -c "SELECT $heap, $indexes, pg_current_wal_insert_lsn()")"
    shift
    note "time.$name" "$(milliseconds "$@")"
    note "wal.$name" "$(run -c "SELECT (pg_current_wal_insert_lsn() - '${before[2]}') / 1048576")"
    note "heap.$name" "$(share "$(run -c "SELECT $heap")" "${before[0]}")"
    note "indexes.$name" "$(share "$(run -c "SELECT $indexes")" "${before[1]}")"
    note "hot.$name" "$(run -c "SELECT 100.0 * n_tup_hot_upd / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'orders'")"
}
