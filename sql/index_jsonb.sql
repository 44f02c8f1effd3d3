-- What jsonb_sample says of documents, held against what SQL says of them.

CREATE EXTENSION pg_architect;
CREATE ROLE regress_jsonb_owner;
CREATE ROLE regress_jsonb_other;
CREATE ROLE regress_jsonb_monitor IN ROLE pg_monitor;
CREATE SCHEMA docs AUTHORIZATION regress_jsonb_owner;
GRANT USAGE ON SCHEMA docs TO regress_jsonb_other;
SET ROLE regress_jsonb_owner;

CREATE FUNCTION docs.keys(target regclass) RETURNS TABLE (key text, presence numeric, types jsonb, "values" bigint,
        value_bytes numeric, key_bytes numeric, toasted numeric, documents bigint) LANGUAGE sql AS $$
    SELECT key, round(presence::numeric, 3), types, distinct_values, round(value_bytes::numeric, 1),
           round(key_bytes::numeric, 1), round(toasted::numeric, 2), documents
    FROM architect.jsonb_sample(target)
$$;

-- A table without documents, one without rows, one without a jsonb column.
CREATE TABLE docs.empty (id integer, doc jsonb);
SELECT * FROM docs.keys('docs.empty');
INSERT INTO docs.empty SELECT n FROM generate_series(1, 3) AS n;
SELECT * FROM docs.keys('docs.empty');
CREATE TABLE docs.none (id integer, doc json);
SELECT * FROM docs.keys('docs.none');

-- Documents of every kind; keys at the top, and of objects there.
CREATE TABLE docs.odd (dropped integer, id integer, "Doc" jsonb);
ALTER TABLE docs.odd DROP dropped;
INSERT INTO docs.odd ("Doc") VALUES (NULL), ('1'), ('"text"'), ('null'), ('true'), ('[]'), ('{}'), ('[{"a": 1}]'),
    ('{"a": null}'), ('{"a": 1, "b": "x"}'), ('{"a": 1.0, "b": "x"}'), ('{"a": [1, {"b": 2}], "b": true}'),
    ('{"a": {"b": {"c": 1}, "": false}, "": ""}'), ('{"''": 1, "\"": 2, "\\": 3, "é": 4, "a.b": 5}');
SELECT * FROM docs.keys('docs.odd');
SELECT key, expression FROM architect.jsonb_sample('docs.odd') WHERE key !~ '^b?$';

-- Deep ones, large ones, and those that are stored out of line.
CREATE TABLE docs.large (id integer, doc jsonb);
ALTER TABLE docs.large ALTER doc SET STORAGE EXTERNAL;
INSERT INTO docs.large
SELECT 1, (repeat('[', 1000) || repeat(']', 1000))::jsonb
UNION ALL SELECT 2, (repeat('{"deep": ', 1000) || 'true' || repeat('}', 1000))::jsonb
UNION ALL SELECT 3, jsonb_build_object('text', repeat('x', 5000), 'n', 1)
UNION ALL SELECT 4, jsonb_build_object('text', repeat('x', 100000), 'n', 1, 'o', '{"in": 1}'::jsonb)
UNION ALL SELECT 5, jsonb_object_agg('key number ' || n, n) FROM generate_series(1, 3000) AS n;
SELECT * FROM docs.keys('docs.large') LIMIT 5;
ALTER TABLE docs.large ALTER doc SET STORAGE EXTENDED;
UPDATE docs.large SET doc = doc || '{}' WHERE id > 2;
SELECT * FROM docs.keys('docs.large') LIMIT 5;
SELECT count(*) FROM docs.keys('docs.large');

-- Keys that are data are not listed one by one, and those that are in all documents are right all the same.
CREATE TABLE docs.map AS
SELECT jsonb_build_object('id', n, 'customer ' || n, n, 'by', jsonb_build_object(n::text, 1)) AS doc
FROM generate_series(1, 20000) AS n;
SELECT key, presence, types, reason FROM architect.jsonb_sample('docs.map');

-- All of a small table is read, so every share is exact.
CREATE TABLE docs.events (id integer, doc jsonb, more jsonb) PARTITION BY RANGE (id);
CREATE TABLE docs.events_1 PARTITION OF docs.events FOR VALUES FROM (0) TO (5000);
CREATE TABLE docs.events_2 (more jsonb, gone integer, doc jsonb, id integer);
ALTER TABLE docs.events_2 DROP gone;
ALTER TABLE docs.events ATTACH PARTITION docs.events_2 FOR VALUES FROM (5000) TO (20000);
INSERT INTO docs.events
SELECT n, jsonb_strip_nulls(jsonb_build_object('all', n, 'third', CASE WHEN n % 3 = 0 THEN n % 30 END,
           'late', CASE WHEN n >= 5000 THEN 'x' END, 'sub', jsonb_build_object('half', CASE WHEN n % 2 = 0 THEN 'y' || n END))),
       CASE WHEN n % 10 = 0 THEN '{"k": 1}'::jsonb END
FROM generate_series(1, 10000) AS n;
SELECT * FROM docs.keys('docs.events');
SELECT said.key, said.presence_error, said.presence - truth.presence AS off
FROM architect.jsonb_sample('docs.events', 'doc') AS said
JOIN (SELECT key, count(*) / 10000.0 AS presence FROM docs.events, jsonb_object_keys(doc) AS key GROUP BY key) AS truth USING (key)
ORDER BY said.key;
SELECT key, documents FROM architect.jsonb_sample('docs.events_1', 'more');

-- A part of it is as near as it says, or nearly: four times the error is out of the question.
ANALYZE docs.events;
SELECT bool_and(documents BETWEEN 500 AND 5000) AS is_part,
       bool_and(abs(said.presence - truth.presence) <= 4 * presence_error + 0.02) AS is_near
FROM architect.jsonb_sample('docs.events', 'doc', 20) AS said
JOIN (SELECT key, count(*) / 10000.0 AS presence FROM docs.events, jsonb_object_keys(doc) AS key GROUP BY key) AS truth USING (key);

-- A view of all tables, and a domain over jsonb.
CREATE DOMAIN docs.document AS jsonb CHECK (VALUE IS NULL OR jsonb_typeof(VALUE) = 'object');
CREATE MATERIALIZED VIEW docs.copies AS SELECT doc::docs.document AS copy FROM docs.events WHERE id < 10;
SELECT DISTINCT relation, column_name FROM architect.jsonb_advice WHERE relation::text LIKE 'docs.%' ORDER BY 1, 2;

-- fails: nothing that can be sampled
CREATE VIEW docs.view AS SELECT * FROM docs.odd;
SELECT * FROM architect.jsonb_sample('docs.view');
-- fails: no such column, and none of jsonb
SELECT * FROM architect.jsonb_sample('docs.odd', 'dropped');
SELECT * FROM architect.jsonb_sample('docs.odd', 'id');
SELECT * FROM architect.jsonb_sample('docs.odd', 'ctid');
-- fails: arguments out of range
SELECT * FROM architect.jsonb_sample('docs.odd', 'Doc', 0);
SELECT * FROM architect.jsonb_sample('docs.odd', 'Doc', 'NaN');
SELECT * FROM architect.jsonb_sample('docs.odd', 'Doc', 100.1);
SELECT * FROM architect.jsonb_sample(target_column => 'Doc');

-- Who may not read a column learns nothing of it, and one that may, reads it whole or not at all.
RESET ROLE;
SET ROLE regress_jsonb_other;
SELECT count(*) FROM architect.jsonb_advice;
-- fails: no right to
SELECT * FROM architect.jsonb_sample('docs.odd');
RESET ROLE;
GRANT SELECT ("Doc") ON docs.odd TO regress_jsonb_other;
GRANT SELECT ON docs.empty TO regress_jsonb_other;
ALTER TABLE docs.empty ENABLE ROW LEVEL SECURITY;
SET ROLE regress_jsonb_other;
SELECT count(*) > 5 AS sees FROM architect.jsonb_sample('docs.odd');
-- fails: policies would hide rows
SELECT * FROM architect.jsonb_sample('docs.empty');
RESET ROLE;
SET ROLE regress_jsonb_monitor;
SELECT relation, key, presence, reason FROM architect.jsonb_advice WHERE relation::text LIKE 'docs.e%' ORDER BY 1, 2;
RESET ROLE;

-- Nothing is written.
SET ROLE regress_jsonb_owner;
BEGIN READ ONLY;
SELECT count(*) > 0 AS any FROM architect.jsonb_advice;
SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
COMMIT;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA docs CASCADE;
DROP ROLE regress_jsonb_owner, regress_jsonb_other, regress_jsonb_monitor;
DROP EXTENSION pg_architect;
