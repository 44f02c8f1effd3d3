\echo Use "ALTER EXTENSION pg_architect UPDATE" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;
