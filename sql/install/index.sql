-- index: what is wrong with the indexes, how sure that is, and what to run.

CREATE OR REPLACE FUNCTION architect.index_find(rules text[] DEFAULT NULL,
        OUT rule text, OUT severity text, OUT confidence text, OUT relation regclass, OUT index regclass,
        OUT columns text[], OUT reason text, OUT evidence jsonb, OUT benefit_bytes bigint, OUT benefit_writes float8,
        OUT statement text, OUT undo text, OUT lock text)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_find';
COMMENT ON FUNCTION architect.index_find(text[]) IS
'findings of these rules, of all where there are none given; one finding an index, the gravest first
SELECT rule, relation, statement FROM architect.index_find(''{invalid}'');';

CREATE OR REPLACE FUNCTION architect._index_status(
        OUT rule text, OUT findings bigint, OUT undecided bigint, OUT reason text, OUT milliseconds float8)
    RETURNS SETOF record
    LANGUAGE C STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_index_status';
COMMENT ON FUNCTION architect._index_status() IS 'what each rule of index_find came to, and how long it took';

CREATE OR REPLACE VIEW architect.index_advice AS
    SELECT * FROM architect.index_find();
GRANT SELECT ON architect.index_advice TO PUBLIC;
COMMENT ON VIEW architect.index_advice IS
'every piece of advice about indexes, one row a cause, the gravest first
SELECT rule, relation, index, reason, statement FROM architect.index_advice;';

CREATE OR REPLACE VIEW architect.index_advice_status AS
    SELECT status.rule, status.findings, status.undecided, status.reason, status.milliseconds
    FROM architect._index_status() AS status;
GRANT SELECT ON architect.index_advice_status TO PUBLIC;
COMMENT ON VIEW architect.index_advice_status IS
'one row a rule: what it found, what it could not decide and why, and the time it took
SELECT rule, findings, undecided, reason FROM architect.index_advice_status;';
