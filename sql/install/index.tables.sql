-- index: what is made once.

-- By name: when a dump is restored, its rows come before the indexes.
CREATE TABLE architect.index_usage (
    server text NOT NULL,
    schema_name name NOT NULL,
    index_name name NOT NULL,
    scans bigint NOT NULL,
    entries bigint NOT NULL,
    last_scan timestamptz,
    stats_since timestamptz,
    imported_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT index_usage_pkey PRIMARY KEY (server, schema_name, index_name),
    CONSTRAINT index_usage_check CHECK (scans >= 0 AND entries >= 0)
);
GRANT SELECT ON architect.index_usage TO PUBLIC;
COMMENT ON TABLE architect.index_usage IS
'what other servers counted of the indexes, as index_usage_import took it
SELECT * FROM architect.index_usage;';
COMMENT ON COLUMN architect.index_usage.server IS 'name that the importer gave the server';
COMMENT ON COLUMN architect.index_usage.entries IS 'index entries that scans returned';
COMMENT ON COLUMN architect.index_usage.last_scan IS 'NULL: never, or a server before PostgreSQL 16';
COMMENT ON COLUMN architect.index_usage.stats_since IS 'since when that server had been counting; NULL: not known';

-- By names, too.  Not for everybody to read: each role sees its own in index_advised and index_review.
CREATE TABLE architect.index_advice_kept (
    id bigint GENERATED ALWAYS AS IDENTITY,
    advised_at timestamptz NOT NULL DEFAULT now(),
    advised_by name NOT NULL,
    action text NOT NULL,
    schema_name name NOT NULL,
    table_name name NOT NULL,
    statement text NOT NULL,
    undo text,
    size_bytes bigint,
    cost_before float8,
    cost_after float8,
    queries jsonb NOT NULL,
    confidence text,
    reason text,
    CONSTRAINT index_advice_kept_pkey PRIMARY KEY (id),
    CONSTRAINT index_advice_kept_action_check CHECK (action IN ('create', 'drop'))
);
COMMENT ON TABLE architect.index_advice_kept IS
'advice that index_advise_keep has kept, by role; for the owner of the extension alone
SELECT advised_at, advised_by, statement FROM architect.index_advice_kept;';
COMMENT ON COLUMN architect.index_advice_kept.queries IS
    'as index_advise has them, each with what pg_stat_statements had counted of it by then';

SELECT pg_extension_config_dump('architect.index_usage', '');
SELECT pg_extension_config_dump('architect.index_advice_kept', '');
SELECT pg_extension_config_dump('architect.index_advice_kept_id_seq', '');
