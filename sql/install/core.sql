-- core: what the extension says of itself.

CREATE OR REPLACE FUNCTION architect.version()
    RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'architect_version';
COMMENT ON FUNCTION architect.version() IS
    'version of the loaded library; warns when the installed SQL is of another version';
