-- What cannot be audited is refused, with the reason and what to do, and
-- nothing is left half enabled.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_refuse_owner;
CREATE ROLE regress_refuse_other;
CREATE SCHEMA audit_refuse AUTHORIZATION regress_refuse_owner;
CREATE FOREIGN DATA WRAPPER regress_refuse_wrapper;
CREATE SERVER regress_refuse_server FOREIGN DATA WRAPPER regress_refuse_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_refuse_server TO regress_refuse_owner;
GRANT USAGE ON SCHEMA audit_refuse TO regress_refuse_other;

SET SESSION AUTHORIZATION regress_refuse_owner;
SET search_path = audit_refuse;
CREATE TABLE orders (id integer PRIMARY KEY, state text, note text);
CREATE VIEW order_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW order_matview AS SELECT * FROM orders;
CREATE FOREIGN TABLE order_foreign (id integer) SERVER regress_refuse_server;
CREATE SEQUENCE order_sequence;
CREATE TYPE order_type AS (id integer);
CREATE TEMPORARY TABLE order_temporary (id integer PRIMARY KEY);
CREATE UNLOGGED TABLE order_unlogged (id integer PRIMARY KEY);
CREATE TABLE order_parts (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE order_part PARTITION OF order_parts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE order_subpart PARTITION OF order_part FOR VALUES FROM (0) TO (10);

-- Kinds of relations.
-- fails: a view
SELECT architect.audit_enable('order_view');
\echo :LAST_ERROR_SQLSTATE
-- fails: a materialized view
SELECT architect.audit_enable('order_matview');
-- fails: a foreign table
SELECT architect.audit_enable('order_foreign');
-- fails: a sequence
SELECT architect.audit_enable('order_sequence');
-- fails: an index
SELECT architect.audit_enable('orders_pkey');
-- fails: a composite type
SELECT architect.audit_enable('order_type');
-- fails: a temporary table
SELECT architect.audit_enable('order_temporary');
-- fails: a system catalog
SELECT architect.audit_enable('pg_class');
-- fails: a catalog of the standard
SELECT architect.audit_enable('information_schema.sql_features');
-- fails: a partition
SELECT architect.audit_enable('order_part');
-- fails: a partition of a partition
SELECT architect.audit_enable('order_subpart');
\echo :LAST_ERROR_SQLSTATE
-- fails: a partition, to disable too
SELECT architect.audit_disable('order_subpart');
-- fails: a view, to disable too
SELECT architect.audit_disable('order_view');
-- fails: no such relation
SELECT architect.audit_enable('missing');
-- fails: no such number
SELECT architect.audit_enable(1::oid);
\echo :LAST_ERROR_SQLSTATE
-- fails: no such number
SELECT architect.audit_disable(1::oid);
-- fails: no relation
SELECT architect.audit_enable(NULL);
\echo :LAST_ERROR_SQLSTATE
-- fails: no relation
SELECT architect.audit_disable(NULL);

-- Tables of ours; the log exists from the first audit on.
SELECT architect.audit_enable('order_unlogged');
SELECT architect.audit_disable('order_unlogged');
RESET SESSION AUTHORIZATION;
-- fails: the log
SELECT architect.audit_enable('architect.audit_log');
-- fails: a part of the log
SELECT architect.audit_enable('architect.audit_log_default');
-- fails: the register
SELECT architect.audit_enable('architect.audit_tables');
-- fails: a view of ours
SELECT architect.audit_enable('architect.help');

-- Whoever does not own the table, whatever else he may.
GRANT ALL ON ALL TABLES IN SCHEMA audit_refuse TO regress_refuse_other;
SET SESSION AUTHORIZATION regress_refuse_other;
-- fails: not the owner
SELECT architect.audit_enable('orders');
\echo :LAST_ERROR_SQLSTATE
-- fails: not the owner
SELECT architect.audit_disable('orders');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_refuse_owner;

-- Columns.
-- fails: no such column
SELECT architect.audit_enable('orders', exclude => '{note,missing}');
\echo :LAST_ERROR_SQLSTATE
-- fails: no such column
SELECT architect.audit_enable('orders', mask => '{missing}');
-- fails: no such column
SELECT architect.audit_enable('orders', key => '{missing}');
-- fails: not a column of the table
SELECT architect.audit_enable('orders', exclude => '{ctid}');
-- fails: names are not folded
SELECT architect.audit_enable('orders', exclude => '{NOTE}');
-- fails: the key
SELECT architect.audit_enable('orders', exclude => '{id}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
-- fails: the key
SELECT architect.audit_enable('orders', mask => '{note,id}');
\set VERBOSITY default
-- fails: hidden twice
SELECT architect.audit_enable('orders', exclude => '{note}', mask => '{state,note}');
-- fails: not a name
SELECT architect.audit_enable('orders', exclude => '{note,NULL}');
\echo :LAST_ERROR_SQLSTATE

-- Words.
-- fails: no such word
SELECT architect.audit_enable('orders', capture => 'everything');
\echo :LAST_ERROR_SQLSTATE
-- fails: words are not folded
SELECT architect.audit_enable('orders', capture => 'FULL');
-- fails: no such word
SELECT architect.audit_enable('orders', capture => '');
-- fails: no such word
SELECT architect.audit_enable('orders', truncate => 'ignore');

-- None of this has left a trigger behind, or has registered a table.
SELECT count(*) AS left_behind FROM pg_trigger WHERE tgname LIKE 'architect%';
SELECT relation FROM architect.audit_tables;
-- Nor does a refusal change how a table is audited.
SELECT architect.audit_enable('orders', mask => '{note}');
-- fails: no such column
SELECT architect.audit_enable('orders', exclude => '{missing}');
-- fails: no such column
SELECT architect.audit_enable('orders', condition => 'missing');
-- fails: no such word
SELECT architect.audit_enable('orders', capture => 'nothing');
SELECT relation, capture, exclude, mask, condition, problem FROM architect.audit_status;

DROP TABLE order_temporary;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA audit_refuse CASCADE;
DROP FOREIGN DATA WRAPPER regress_refuse_wrapper CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE regress_refuse_owner, regress_refuse_other;
