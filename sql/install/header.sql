\echo Use "CREATE EXTENSION pg_architect" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;

-- Fails when the schema exists already, whoever owns it.
CREATE SCHEMA architect;
REVOKE ALL ON SCHEMA architect FROM PUBLIC;
GRANT USAGE ON SCHEMA architect TO PUBLIC;
COMMENT ON SCHEMA architect IS
    'pg_architect: data-architecture patterns as SQL functions; SELECT * FROM architect.help';
