-- Names that need quotes, names that are key words, and names that change.

CREATE EXTENSION pg_architect;
CREATE ROLE "regress_names ""Owner";
CREATE SCHEMA "my Schema" AUTHORIZATION "regress_names ""Owner";
SET SESSION AUTHORIZATION "regress_names ""Owner";

CREATE TABLE "my Schema"."Tabelle ""Ä"" \ '1'" (
    "Id ""x""" integer, "new" integer, "old" integer, "user" text, "order" text, "Weird ""Col \\" text, "a.b" text, "'" text,
    "$1" text, "%s %I" text, "select" boolean, "{}" text, "a,b" text, " " text, "é" text,
    "a12345678901234567890123456789012345678901234567890123456789012" text,
    PRIMARY KEY ("Id ""x""", "new"));
SELECT architect.audit_enable('"my Schema"."Tabelle ""Ä"" \ ''1''"',
    exclude => ARRAY['Weird "Col \\', 'a,b', '{}'], mask => ARRAY['$1', ' ', ''''], truncate => 'rows',
    condition => $$"select" AND "user" <> "order" AND "%s %I" IS DISTINCT FROM 'x"''\'$$,
    key => ARRAY['new', 'Id "x"']);
SELECT relation, exclude, mask, key, condition, problem FROM architect.audit_status;
INSERT INTO "my Schema"."Tabelle ""Ä"" \ '1'"
VALUES (1, 2, 3, 'u', 'o', 'w', 'ab', 'quote', 'dollar', 'percent', true, 'braces', 'comma', 'blank', 'e', 'long');
UPDATE "my Schema"."Tabelle ""Ä"" \ '1'" SET "old" = 4, "Weird ""Col \\" = 'x', "$1" = 'changed', "é" = 'f';
UPDATE "my Schema"."Tabelle ""Ä"" \ '1'" SET "Weird ""Col \\" = 'y', "a,b" = 'y', "{}" = 'y';
TRUNCATE "my Schema"."Tabelle ""Ä"" \ '1'";
SELECT table_schema, table_name, operation, record_id, changed_by FROM architect.audit_log ORDER BY id;
SELECT key, value FROM architect.audit_log, jsonb_each(new_values) WHERE operation = 'INSERT' ORDER BY length(key), key COLLATE "C";
SELECT old_values, new_values FROM architect.audit_log WHERE operation = 'UPDATE';
-- The plan of what it takes to leave names them rightly.
SELECT statement FROM architect.uninstall_plan() WHERE statement LIKE 'DROP TRIGGER%' ORDER BY statement COLLATE "C";

-- A name as long as names can be, of table, schema and partition.
CREATE TABLE "my Schema"."t12345678901234567890123456789012345678901234567890123456789012" (id integer PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE "my Schema"."p""1234567890123456789012345678901234567890123456789012345678901"
    PARTITION OF "my Schema"."t12345678901234567890123456789012345678901234567890123456789012" DEFAULT;
SELECT architect.audit_enable('"my Schema"."t12345678901234567890123456789012345678901234567890123456789012"');
INSERT INTO "my Schema"."t12345678901234567890123456789012345678901234567890123456789012" VALUES (1);
TRUNCATE "my Schema"."p""1234567890123456789012345678901234567890123456789012345678901";
SELECT table_name, operation, context FROM architect.audit_log WHERE table_name LIKE 't1%' ORDER BY id;

-- Renamed while it is audited, the table goes on under its new name and its old number.
SET search_path = "my Schema";
CREATE TABLE item (id integer PRIMARY KEY, a text, b text, c text);
CREATE TABLE parts (id integer PRIMARY KEY, a text) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parts DEFAULT;
SELECT architect.audit_enable('item', exclude => '{a}', mask => '{b}'), architect.audit_enable('parts');
INSERT INTO item VALUES (1, 'a', 'b', 'c');
INSERT INTO parts VALUES (1, 'a');
ALTER TABLE item RENAME TO thing;
ALTER TABLE thing RENAME COLUMN id TO number;
-- Two columns that change their names with each other keep what they are.
ALTER TABLE thing RENAME COLUMN a TO x;
ALTER TABLE thing RENAME COLUMN b TO a;
ALTER TABLE thing RENAME COLUMN x TO b;
ALTER TABLE parts RENAME TO pieces;
ALTER TABLE pieces RENAME COLUMN a TO "A";
ALTER TABLE part RENAME TO piece;
UPDATE thing SET b = 'excluded';
UPDATE thing SET a = 'masked', c = 'd';
UPDATE piece SET "A" = 'B';
TRUNCATE piece;
RESET SESSION AUTHORIZATION;
ALTER SCHEMA "my Schema" RENAME TO yours;
SET SESSION AUTHORIZATION "regress_names ""Owner";
SET search_path = yours;
DELETE FROM thing;
INSERT INTO pieces VALUES (2, 'a');
SELECT table_schema, table_name, operation, record_id, old_values, new_values, context
FROM architect.audit_log
WHERE length(table_name) < 10
ORDER BY table_id, id;
SELECT count(DISTINCT table_id) FROM architect.audit_log WHERE length(table_name) < 10;
SELECT relation, exclude, mask, key FROM architect.audit_status WHERE relation = 'thing'::regclass;
-- In another schema it is still the same.
RESET SESSION AUTHORIZATION;
CREATE SCHEMA audit_names AUTHORIZATION "regress_names ""Owner";
SET SESSION AUTHORIZATION "regress_names ""Owner";
ALTER TABLE thing SET SCHEMA audit_names;
INSERT INTO audit_names.thing VALUES (2, 'm', 'x', 'c');
SELECT table_schema, table_name, operation, record_id, new_values FROM architect.audit_log ORDER BY id DESC LIMIT 1;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA yours, audit_names CASCADE;
DROP EXTENSION pg_architect CASCADE;
DROP ROLE "regress_names ""Owner";
