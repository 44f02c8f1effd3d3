-- index: what the documents of jsonb columns are made of, and what to do about their keys.

CREATE OR REPLACE FUNCTION architect.jsonb_sample(target regclass DEFAULT NULL, target_column name DEFAULT NULL,
        percent float8 DEFAULT NULL,
        OUT relation regclass, OUT column_name name, OUT key text, OUT presence float8, OUT presence_error float8,
        OUT types jsonb, OUT distinct_values bigint, OUT value_bytes float8, OUT key_bytes float8, OUT toasted float8,
        OUT documents bigint, OUT calls float8, OUT expression text, OUT advice text, OUT confidence text,
        OUT reason text, OUT statement text, OUT undo text, OUT lock text)
    RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'architect_jsonb_sample';
COMMENT ON FUNCTION architect.jsonb_sample(regclass, name, float8) IS
'the keys of jsonb columns, from a sample of blocks: presence, types, bytes, and what to do about each
SELECT key, presence, types, advice FROM architect.jsonb_sample(''public.orders'', percent => 1);';

CREATE OR REPLACE VIEW architect.jsonb_advice AS
    SELECT * FROM architect.jsonb_sample();
GRANT SELECT ON architect.jsonb_advice TO PUBLIC;
COMMENT ON VIEW architect.jsonb_advice IS
'the keys of all jsonb columns, from a sample: presence, types, bytes, and what to do about each
SELECT relation, column_name, key, presence, advice, statement FROM architect.jsonb_advice;';
