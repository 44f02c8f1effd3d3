# A bank of pgbench's making: ten branches and a million accounts.

chapter 'A database that knows nothing of pg_architect'
PGDATABASE=postgres sql '
    CREATE ROLE bank LOGIN;
    CREATE ROLE teller LOGIN;
    CREATE DATABASE bank OWNER bank;
'
export PGDATABASE=bank PGUSER=bank

text '$ pgbench -i -s 10'
pgbench -q -i -s 10 2>&1 | tail -n 1
sql '
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO teller;
    SELECT (SELECT count(*) FROM pgbench_branches) AS branches,
           (SELECT count(*) FROM pgbench_tellers) AS tellers,
           (SELECT count(*) FROM pgbench_accounts) AS accounts;
'
text 'A superuser creates the extension.  All that follows is done by bank, who owns the' \
    'tables, and teller, who may only change rows in them.'
PGUSER=postgres sql 'CREATE EXTENSION pg_architect;'
sql 'SELECT architect.version();'
