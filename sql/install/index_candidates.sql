-- index candidates: indexes that queries would be better off with.

CREATE OR REPLACE VIEW architect.index_partial_candidate AS
    SELECT * FROM architect.index_find('{partial_candidate}');
GRANT SELECT ON architect.index_partial_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_partial_candidate IS
'indexes most entries of which no query looks for, and the predicate that leaves them out
SELECT relation, index, columns, reason, statement FROM architect.index_partial_candidate;';

CREATE OR REPLACE VIEW architect.index_covering_candidate AS
    SELECT * FROM architect.index_find('{covering_candidate}');
GRANT SELECT ON architect.index_covering_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_covering_candidate IS
'indexes that would answer queries without the table if they included a few columns more
SELECT relation, index, columns, reason, statement FROM architect.index_covering_candidate;';

CREATE OR REPLACE VIEW architect.index_gin_candidate AS
    SELECT * FROM architect.index_find('{gin_candidate}');
GRANT SELECT ON architect.index_gin_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_gin_candidate IS
'jsonb, arrays, tsvector and texts that queries search by what is in them, without an index that can
SELECT relation, index, columns, reason, statement FROM architect.index_gin_candidate;';

CREATE OR REPLACE VIEW architect.index_expression_candidate AS
    SELECT * FROM architect.index_find('{expression_candidate}');
GRANT SELECT ON architect.index_expression_candidate TO PUBLIC;
COMMENT ON VIEW architect.index_expression_candidate IS
'expressions that queries compare, and no index begins with
SELECT relation, index, columns, reason, statement FROM architect.index_expression_candidate;';
