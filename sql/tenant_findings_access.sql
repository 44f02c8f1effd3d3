-- Findings about ways around the policies: rights that no policy applies to, roles and publications.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_find_app;
CREATE ROLE regress_find_owner;
CREATE SCHEMA find AUTHORIZATION regress_find_owner;
CREATE SCHEMA find_app AUTHORIZATION regress_find_app;
GRANT USAGE ON SCHEMA find TO regress_find_app;
CREATE VIEW find.findings AS
    SELECT rule, severity, relation, object, detail, fix FROM architect.tenant_findings
    WHERE relation::text LIKE 'find.%' OR object LIKE '%regress_find%';
CREATE FUNCTION find.close(wanted text, target text) RETURNS text LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE (SELECT fix FROM find.findings WHERE rule = wanted AND object = target);
    RETURN CASE WHEN EXISTS (SELECT FROM find.findings WHERE rule = wanted AND object = target)
                THEN 'still open' ELSE 'closed' END;
END
$function$;

SET SESSION AUTHORIZATION regress_find_owner;
CREATE TABLE find.doc (tenant_id integer, id integer GENERATED ALWAYS AS IDENTITY, note text,
    PRIMARY KEY (tenant_id, id));
CREATE TABLE find.country (id serial PRIMARY KEY);
SELECT architect.tenant_enable('find.doc');
GRANT SELECT, INSERT, UPDATE, DELETE ON find.doc TO regress_find_app;
BEGIN;
SELECT architect.tenant_set(1);
INSERT INTO find.doc (tenant_id) VALUES (1), (1);
COMMIT;
BEGIN;
SELECT architect.tenant_set(2);
INSERT INTO find.doc (tenant_id) VALUES (2);
COMMIT;
-- These four rights are those that policies apply to, and no other table matters.
GRANT ALL ON find.country, find.country_id_seq TO regress_find_app;
RESET SESSION AUTHORIZATION;
SELECT * FROM find.findings;

-- TRUNCATE asks no policy.
GRANT TRUNCATE ON find.doc TO regress_find_app;
SELECT * FROM find.findings \gx
BEGIN;
SET LOCAL ROLE regress_find_app;
SELECT count(*) AS seen FROM find.doc;
TRUNCATE find.doc;
RESET ROLE;
SELECT count(*) AS left FROM find.doc;
ROLLBACK;
SELECT find.close('grant_truncate', 'regress_find_app');

-- A foreign key of one's own asks none, and says which keys there are.
GRANT REFERENCES (tenant_id, id) ON find.doc TO regress_find_app;
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
CREATE TABLE find_app.probe (tenant integer, id integer, FOREIGN KEY (tenant, id) REFERENCES find.doc);
INSERT INTO find_app.probe VALUES (2, 3);
-- fails: there is no such row
INSERT INTO find_app.probe VALUES (2, 4);
DROP TABLE find_app.probe;
RESET ROLE;
SELECT find.close('grant_references', 'regress_find_app');

-- A trigger is given the rows that others write.
GRANT TRIGGER ON find.doc TO PUBLIC;
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
CREATE TABLE find_app.seen (tenant integer, note text);
GRANT INSERT ON find_app.seen TO PUBLIC;
GRANT USAGE ON SCHEMA find_app TO PUBLIC;
CREATE FUNCTION find_app.tell() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO find_app.seen VALUES (new.tenant_id, new.note); RETURN new; END';
CREATE TRIGGER tell BEFORE INSERT ON find.doc FOR EACH ROW EXECUTE FUNCTION find_app.tell();
SET SESSION AUTHORIZATION regress_find_owner;
BEGIN;
SELECT architect.tenant_set(2);
INSERT INTO find.doc (tenant_id, note) VALUES (2, 'secret');
COMMIT;
RESET SESSION AUTHORIZATION;
SET ROLE regress_find_app;
SELECT * FROM find_app.seen;
RESET ROLE;
DROP TRIGGER tell ON find.doc;
SELECT find.close('grant_trigger', 'PUBLIC');

-- Rights of the owner and of those to whom no policy applies are no way around.
GRANT ALL ON find.doc TO regress_find_owner, CURRENT_USER;
SELECT * FROM find.findings;
-- What somebody passed on is taken back with it.
GRANT TRUNCATE ON find.doc TO regress_find_app WITH GRANT OPTION;
CREATE ROLE regress_find_other;
SET ROLE regress_find_app;
GRANT TRUNCATE ON find.doc TO regress_find_other;
RESET ROLE;
SELECT rule, object FROM find.findings;
SELECT find.close('grant_truncate', 'regress_find_app');
SELECT rule, object FROM find.findings;
DROP ROLE regress_find_other;

-- A sequence tells how much all tenants add.  To use one is what a default needs.
GRANT USAGE ON SEQUENCE find.doc_id_seq TO regress_find_app;
SELECT * FROM find.findings;
GRANT SELECT, UPDATE ON SEQUENCE find.doc_id_seq TO regress_find_app;
SELECT * FROM find.findings \gx
SET ROLE regress_find_app;
SELECT last_value FROM find.doc_id_seq;
RESET ROLE;
SELECT find.close('sequence_grant', 'find.doc_id_seq: regress_find_app');
SELECT has_sequence_privilege('regress_find_app', 'find.doc_id_seq', 'USAGE') AS usage;
-- One that only a default names counts as well.
CREATE SEQUENCE find.numbers;
GRANT SELECT ON find.numbers TO regress_find_app;
SELECT * FROM find.findings;
ALTER TABLE find.doc ADD number integer DEFAULT nextval('find.numbers');
SELECT rule, object FROM find.findings;
SELECT find.close('sequence_grant', 'find.numbers: regress_find_app');

-- A publication carries the rows of all tenants, unless it is confined to some.
SET client_min_messages = error;
CREATE PUBLICATION regress_find_one FOR TABLE find.doc, find.country;
SELECT * FROM find.findings \gx
SELECT find.close('publication', 'regress_find_one');
ALTER PUBLICATION regress_find_one SET TABLE find.doc WHERE (tenant_id = 1), find.country;
SELECT * FROM find.findings;
ALTER PUBLICATION regress_find_one SET TABLE find.doc WHERE (tenant_id > 1);
SELECT rule, object FROM find.findings;
DROP PUBLICATION regress_find_one;
CREATE PUBLICATION regress_find_schema FOR TABLES IN SCHEMA find, find_app;
SELECT * FROM find.findings \gx
SELECT find.close('publication', 'regress_find_schema');
DROP PUBLICATION regress_find_schema;
CREATE PUBLICATION regress_find_all FOR ALL TABLES;
SELECT * FROM find.findings \gx
SELECT find.close('publication', 'regress_find_all');
RESET client_min_messages;

-- Roles to which no policy applies, if somebody can connect as them, or become them.
CREATE ROLE regress_find_service BYPASSRLS;
CREATE ROLE regress_find_admin SUPERUSER;
CREATE ROLE regress_find_step IN ROLE regress_find_service;
CREATE ROLE regress_find_batch NOINHERIT IN ROLE regress_find_step;
SELECT * FROM find.findings;
ALTER ROLE regress_find_admin LOGIN;
ALTER ROLE regress_find_batch LOGIN;
SELECT rule, severity, relation, object, detail FROM find.findings \gx
GRANT SELECT ON find.doc TO regress_find_batch, regress_find_service;
GRANT USAGE ON SCHEMA find TO regress_find_batch, regress_find_service;
SET SESSION AUTHORIZATION regress_find_batch;
SELECT count(*) AS seen FROM find.doc;
SET ROLE regress_find_service;
SELECT count(*) AS seen FROM find.doc;
RESET SESSION AUTHORIZATION;
SELECT find.close('role_can_bypass', 'regress_find_batch'), find.close('role_bypasses', 'regress_find_admin');
SET SESSION AUTHORIZATION regress_find_batch;
-- fails: not a member any more
SET ROLE regress_find_service;
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_find_service LOGIN;
SELECT rule, object FROM find.findings;
SELECT find.close('role_bypasses', 'regress_find_service');
SELECT * FROM find.findings;

SET client_min_messages = warning;
DROP SCHEMA find, find_app CASCADE;
DROP ROLE regress_find_batch, regress_find_step, regress_find_admin, regress_find_service;
DROP ROLE regress_find_app, regress_find_owner;
DROP EXTENSION pg_architect;
