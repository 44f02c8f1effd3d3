-- Foreign keys of partitioned tables: one finding a tree, and each partition counts.
CREATE EXTENSION pg_architect;
CREATE SCHEMA keys;
SET search_path = keys;
SET client_min_messages = warning;

CREATE VIEW advice AS
    SELECT relation, columns, evidence ->> 'foreign_keys' AS keys, statement, undo, lock
    FROM architect.index_missing_foreign_key ORDER BY relation::text, columns;

CREATE TABLE parent (id int, region int, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE parent_0 PARTITION OF parent FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parent_1 PARTITION OF parent FOR VALUES WITH (MODULUS 2, REMAINDER 1);

-- The second partition has its columns in another order, the third has partitions.
CREATE TABLE child (at int, parent int REFERENCES parent, note text) PARTITION BY RANGE (at);
CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (10);
CREATE TABLE "Child 2" (note text, gone int, parent int, at int);
ALTER TABLE "Child 2" DROP gone;
ALTER TABLE child ATTACH PARTITION "Child 2" FOR VALUES FROM (10) TO (20);
CREATE TABLE child_3 PARTITION OF child FOR VALUES FROM (20) TO (30) PARTITION BY LIST (at);
CREATE TABLE child_3_rest PARTITION OF child_3 DEFAULT;
\x
SELECT * FROM advice;

-- An index of one partition is taken into the tree.
CREATE INDEX child_2_parent ON "Child 2" (parent);
SELECT * FROM advice;
\x
CREATE INDEX child_parent_idx ON ONLY keys.child USING btree (parent);
-- One that is not valid yet is left to index_invalid, which has it completed.
SELECT relation, columns FROM advice;
DROP INDEX child_parent_idx;
CREATE INDEX ON child_1 (parent, at);
CREATE INDEX ON child_3_rest (parent) WHERE parent IS NOT NULL;
SELECT relation, columns FROM advice;
DROP INDEX child_2_parent;
CREATE INDEX ON "Child 2" (note, parent);
SELECT relation, columns FROM advice;
DROP TABLE child;

-- A key of one partition alone is that partition's.
CREATE TABLE child (at int, parent int) PARTITION BY RANGE (at);
CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (10);
ALTER TABLE child_1 ADD FOREIGN KEY (parent) REFERENCES parent;
SELECT relation, columns, statement FROM advice;
CREATE INDEX ON child (parent);
SELECT relation, columns FROM advice;

DROP SCHEMA keys CASCADE;
DROP EXTENSION pg_architect;
