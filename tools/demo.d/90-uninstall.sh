# How to be rid of it.

chapter 'And if you do not want it'
text 'What DROP EXTENSION would remove, and what has to be done before:'
PGUSER=postgres sql 'SELECT step, statement, why FROM architect.uninstall_plan();'
