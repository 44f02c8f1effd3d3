# tenant: each branch sees its own rows, and what proves it.

chapter 'Tenant: one database, ten branches that do not see each other'

text 'An application for the counter, and one for headquarters, with a role each:'
PGUSER=postgres sql '
    CREATE ROLE counter LOGIN;
    CREATE ROLE headquarters LOGIN;
    GRANT counter, headquarters TO bank;
'
sql '
    GRANT SELECT, INSERT, UPDATE, DELETE ON pgbench_branches, pgbench_accounts TO counter;
    GRANT SELECT ON pgbench_accounts TO headquarters;
    CREATE INDEX ON pgbench_accounts (bid);
    VACUUM (ANALYZE) pgbench_accounts;
'
text 'Who forgets a WHERE sees all of the bank:'
PGUSER=counter sql 'SELECT count(*) FROM pgbench_accounts;'

text 'What it takes to keep branches apart:'
sql "
    SELECT step, left(statement, 78) || ' …' AS statement, why
    FROM architect.tenant_enable_plan('pgbench_accounts', tenant_column => 'bid');
"
sql "
    SELECT architect.tenant_enable('pgbench_accounts', tenant_column => 'bid'),
           architect.tenant_enable('pgbench_branches', tenant_column => 'bid');
"
text 'A transaction says for which branch it acts.  One that does not sees nothing, and neither' \
    'does the next one on the same connection:'
PGUSER=counter sql '
    BEGIN;
    SELECT architect.tenant_set(7);
    SELECT count(*), min(bid), max(bid) FROM pgbench_accounts WHERE abalance = 0 OR true;
    UPDATE pgbench_accounts SET abalance = abalance + 1000 WHERE aid = 100007;
    COMMIT;
    SELECT count(*) FROM pgbench_accounts;
'
text 'Account 100007 is of branch 2, so no row was changed.  None can be made for branch 2, or be' \
    'moved there:'
PGUSER=counter sql_refused '
    BEGIN;
    SELECT architect.tenant_set(7);
    UPDATE pgbench_accounts SET bid = 2 WHERE aid = 600007;
'
text 'The planner sees no more than a comparison, so the index serves and the estimate is right:'
PGUSER=counter sql '
    BEGIN;
    SELECT architect.tenant_set(7);
    EXPLAIN SELECT sum(abalance) FROM pgbench_accounts;
    COMMIT;
'

chapter 'Tenant: a trial'

# What a role can do across branches, in one line a command.
trial() {
    sql "
    SELECT via, command, string_agg(tenant || ' ' || seen, ', ') AS seen, bool_and(ok) AS ok
    FROM architect.tenant_test('pgbench_accounts', '$1') WITH ORDINALITY
    GROUP BY via, command ORDER BY min(ordinality);
"
}
text 'Every command is tried as the application, with rows of two branches, and rolled back:'
trial counter

text 'An administrator is in a hurry:'
PGUSER=postgres sql '
    CREATE VIEW rich AS SELECT * FROM pgbench_accounts WHERE abalance > 0;
    GRANT SELECT ON rich TO counter;
    GRANT TRUNCATE ON pgbench_accounts TO counter;
'
text 'Another opens the table for everybody, which opens nothing: the floor holds.'
sql 'CREATE POLICY support ON pgbench_accounts USING (true);'
text 'The trial finds what is open now, and nothing else:'
sql "
    SELECT via, command, tenant, expected, seen
    FROM architect.tenant_test('pgbench_accounts', 'counter') WHERE NOT ok;
"
text 'The findings say why, and what closes it:'
sql "
    \\x on
    SELECT rule, severity, object, detail, fix FROM architect.tenant_findings
    WHERE relation = 'pgbench_accounts'::regclass AND severity IN ('critical', 'warning')
    ORDER BY severity, rule, object;
"
PGUSER=postgres sql '
    ALTER VIEW rich SET (security_invoker = true);
    REVOKE TRUNCATE ON pgbench_accounts FROM counter;
    DROP POLICY support ON pgbench_accounts;
'
sql "
    SELECT count(*) AS trials, bool_and(ok) AS all_closed
    FROM architect.tenant_test('pgbench_accounts', 'counter');
"

text 'Headquarters adds up all branches now and then.  That is granted, read only, and kept:'
PGUSER=postgres sql 'GRANT EXECUTE ON FUNCTION architect.tenant_cross(text, boolean) TO headquarters;'
PGUSER=headquarters sql "
    BEGIN;
    SELECT architect.tenant_cross('balance of May, ticket 4711');
    SELECT bid, count(*), sum(abalance) FROM pgbench_accounts GROUP BY bid ORDER BY bid LIMIT 3;
    COMMIT;
"
PGUSER=counter sql_refused "SELECT architect.tenant_cross('I am curious');"
PGUSER=postgres sql 'SELECT session_role, reason, read_only FROM architect.tenant_crossings;'
