-- index: views of the rules about foreign keys, and about indexes that do not work.

CREATE OR REPLACE VIEW architect.index_missing_foreign_key AS
    SELECT * FROM architect.index_find('{missing_foreign_key}');
GRANT SELECT ON architect.index_missing_foreign_key TO PUBLIC;
COMMENT ON VIEW architect.index_missing_foreign_key IS
'foreign keys whose checks, when rows of the referenced table are deleted, read the whole table
SELECT relation, columns, reason, statement FROM architect.index_missing_foreign_key;';

CREATE OR REPLACE VIEW architect.index_invalid AS
    SELECT * FROM architect.index_find('{invalid}');
GRANT SELECT ON architect.index_invalid TO PUBLIC;
COMMENT ON VIEW architect.index_invalid IS
'indexes that a failed CREATE INDEX or REINDEX CONCURRENTLY left behind, and those of partitioned tables that lack some
SELECT index, reason, statement FROM architect.index_invalid;';

CREATE OR REPLACE VIEW architect.index_unlogged_or_wrong_type AS
    SELECT * FROM architect.index_find('{unlogged_or_wrong_type}');
GRANT SELECT ON architect.index_unlogged_or_wrong_type TO PUBLIC;
COMMENT ON VIEW architect.index_unlogged_or_wrong_type IS
'indexes of a kind that does not suit their column, and partitions that are not logged among some that are
SELECT index, reason, statement FROM architect.index_unlogged_or_wrong_type;';
