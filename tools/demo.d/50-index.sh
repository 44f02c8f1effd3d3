# index: what is wrong with the indexes, what to run, and what it would take.

chapter 'Indexes: one view says what is wrong'

text 'Orders, as an application has made them over the years:'
sql "
    CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL, UNIQUE (email));
    CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
                         status text NOT NULL, data jsonb, deleted_at timestamptz);
    INSERT INTO customers SELECT n, n || '@example.com' FROM generate_series(1, 50000) AS n;
    INSERT INTO orders
    SELECT n, n % 50000 + 1, CASE WHEN n % 100 = 0 THEN 'open' ELSE 'closed' END,
           jsonb_build_object('source', 'web', 'lines', n % 9, 'coupon', CASE WHEN n % 50 = 0 THEN 'C' || n END), NULL
    FROM generate_series(1, 300000) AS n;
    CREATE INDEX customers_email ON customers (email);
    CREATE INDEX orders_status ON orders (status, id);
    CREATE INDEX orders_status_only ON orders (status);
    CREATE INDEX orders_deleted ON orders (deleted_at);
    VACUUM ANALYZE customers, orders;
"
text 'A customer goes, and most of the time goes into the check of the foreign key:'
sql '
    EXPLAIN (ANALYZE, COSTS OFF) DELETE FROM customers WHERE id = 1;
'
text 'Everything that is wrong with them, one row a cause, the gravest first:'
sql "
    SELECT rule, severity, confidence, relation, index, pg_size_pretty(benefit_bytes) AS benefit
    FROM architect.index_advice
    WHERE relation IN ('orders'::regclass, 'customers'::regclass);
"
text 'Why, on what numbers, what to run, and how to take it back:'
sql "
    \\pset format unaligned
    \\x on
    SELECT columns, reason, jsonb_pretty(evidence) AS evidence, statement, undo, lock
    FROM architect.index_missing_foreign_key WHERE relation = 'orders'::regclass;
"
text 'How big would that index be?'
sql "
    SELECT pg_size_pretty(architect.index_size_estimate('CREATE INDEX ON orders (customer_id)')) AS estimate;
"
text 'What the advice says, psql runs:'
sql "
    SELECT statement FROM architect.index_advice
    WHERE relation IN ('orders'::regclass, 'customers'::regclass)
    \\g (format=unaligned tuples_only=on) | psql -X -e
"
text 'It is as it says:'
sql "
    SELECT pg_size_pretty(pg_relation_size('orders_customer_id_idx')) AS built;
    EXPLAIN (ANALYZE, COSTS OFF) DELETE FROM customers WHERE id = 2;
"
text 'What may be left is a hint: which queries read a table as a whole is not known without pg_stat_statements.'
sql "
    SELECT rule, confidence, relation, statement FROM architect.index_advice
    WHERE relation IN ('orders'::regclass, 'customers'::regclass);
"
text 'What each rule came to; one that cannot decide says why:'
sql '
    SELECT rule, findings, undecided, reason FROM architect.index_advice_status;
'

chapter 'Indexes: what is in the documents'
text 'Keys of a jsonb column, from a sample of its blocks:'
sql "
    SELECT key, presence, types, round(value_bytes) AS value_bytes, advice
    FROM architect.jsonb_advice WHERE relation = 'orders'::regclass;
"
text 'What the advice comes to for one of them:'
sql "
    \\x on
    SELECT expression, reason, statement, undo, lock
    FROM architect.jsonb_advice WHERE relation = 'orders'::regclass AND key = 'lines';
"

chapter 'Indexes: the best set for what the server has run'
text 'By now orders have a total, customers a country.  With the libraries preloaded, the server knows what is run:'
sql "
    ALTER TABLE customers ADD country text NOT NULL DEFAULT 'CH';
    ALTER TABLE orders ADD placed_at timestamptz NOT NULL DEFAULT now(), ADD total numeric(10,2) NOT NULL DEFAULT 0;
    UPDATE customers SET country = (ARRAY['AT', 'CH', 'DE', 'FR', 'IT', 'LI'])[1 + id % 6];
    UPDATE orders SET total = id % 9973 / 100.0, placed_at = timestamptz '2026-01-01' + id * interval '100 seconds';
    VACUUM (FULL, ANALYZE) customers, orders;
"
PGUSER=postgres sql '
    ALTER SYSTEM SET shared_preload_libraries = pg_architect, pg_stat_statements;
    CREATE EXTENSION pg_stat_statements;
'
text '$ pg_ctl restart'
pg_ctl -D "$work/data" -l "$work/server.log" -m fast -s -w restart

cat >"$work/shop.sql" <<'SQL'
\set customer random(3, 50000)
\set order random(1, 300000)
SELECT id, customer_id, total FROM orders WHERE status = 'open' ORDER BY placed_at DESC LIMIT 10;
SELECT id, status, total FROM orders WHERE customer_id = :customer ORDER BY placed_at DESC LIMIT 10;
UPDATE orders SET total = total + 1 WHERE id = :order;
SQL
cat >"$work/reports.sql" <<'SQL'
SELECT date_trunc('week', placed_at), sum(total) FROM orders WHERE placed_at >= '2026-11-01' GROUP BY 1;
SELECT email, sum(total) FROM orders JOIN customers ON customers.id = customer_id WHERE total > 99 GROUP BY email;
SELECT id, placed_at, total FROM orders WHERE data @> '{"coupon": "C4200"}';
SQL

# The application and the reports, with the milliseconds that each statement takes.
work_with() {
    text "\$ pgbench -r -c 2 -R 100 -T $seconds -f shop.sql; pgbench -r -t 10 -f reports.sql"
    { pgbench -n -r -c 2 -R 100 -T "$seconds" -f "$work/shop.sql"
      pgbench -n -r -t 10 -f "$work/reports.sql"; } |
        sed -n 's/^ *\([0-9.]*\) *[0-9]* *\([SU][EP].*\)/\1 ms  \2/p' | cut -c 1-118
}
text 'The application works for a while, and three reports are asked for:'
work_with
text 'Which indexes would help most, in 64 MB, and which need not stay?'
sql "
    \\pset tuples_only on
    \\pset format unaligned
    SELECT architect.index_advise_report('64MB', drops => true);
"
text 'It is kept, to be judged later, and done:'
sql "
    SELECT architect.index_advise_keep('64MB', drops => true);
    SELECT statement FROM architect.index_advised
    \\g (format=unaligned tuples_only=on) | psql -X -e
    VACUUM ANALYZE orders, customers;
"
text 'The same again:'
work_with
text 'What was promised, and what came of it:'
sql "
    SELECT DISTINCT left(query, 60) AS query, round(predicted_ratio::numeric, 3) AS predicted,
                    round(measured_ratio::numeric, 3) AS measured, verdict
    FROM architect.index_review()
    WHERE action = 'create';
"
