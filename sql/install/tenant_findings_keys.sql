-- tenant: findings about the tenant column, and about indexes and keys that leave it out.

-- Foreign keys from one table with the tenant column to another, and how they would read with it.
CREATE OR REPLACE VIEW architect._tenant_foreign_keys WITH (security_invoker = true) AS
    SELECT con.oid,
           con.conname,
           con.confdeltype,
           con.conindid,
           child.relid,
           child.name,
           parent.relid AS parent,
           parent.name AS parent_name,
           -- The same tenant on both sides.
           EXISTS (SELECT FROM unnest(con.conkey, con.confkey) AS pair (own, other)
                   WHERE pair.own = child.attnum AND pair.other = parent.attnum) AS has_tenant,
           EXISTS (SELECT FROM pg_index AS index
                   WHERE index.indrelid = parent.relid
                     AND index.indisunique AND index.indisvalid AND index.indimmediate
                     AND index.indpred IS NULL AND index.indexprs IS NULL
                     AND index.indnkeyatts = cardinality(con.confkey) + 1
                     AND (index.indkey::smallint[])[0:index.indnkeyatts - 1] @> (con.confkey || parent.attnum))
               AS has_key,
           format('ALTER TABLE %s ADD UNIQUE (%I, %s);', parent.name, parent.column_name, refers.columns) AS add_key,
           format('ALTER TABLE %s DROP CONSTRAINT %I', child.name, con.conname) AS drop,
           concat(format('ADD CONSTRAINT %I FOREIGN KEY (%I, %s) REFERENCES %s (%I, %s)',
                         con.conname, child.column_name, own.columns, parent.name, parent.column_name, refers.columns),
                  CASE con.confupdtype WHEN 'c' THEN ' ON UPDATE CASCADE' WHEN 'r' THEN ' ON UPDATE RESTRICT' END,
                  CASE con.confdeltype
                      WHEN 'c' THEN ' ON DELETE CASCADE'
                      WHEN 'r' THEN ' ON DELETE RESTRICT'
                      WHEN 'n' THEN format(' ON DELETE SET NULL (%s)', coalesce(own.cleared, own.columns))
                      WHEN 'd' THEN format(' ON DELETE SET DEFAULT (%s)', coalesce(own.cleared, own.columns))
                  END,
                  CASE WHEN con.condeferrable THEN ' DEFERRABLE' END,
                  CASE WHEN con.condeferred THEN ' INITIALLY DEFERRED' END) AS add
    FROM pg_constraint AS con
    JOIN architect._tenant_relations AS child ON child.relid = con.conrelid
    JOIN architect._tenant_relations AS parent ON parent.relid = con.confrelid
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(att.attname), ', ' ORDER BY key.place) AS columns,
               string_agg(quote_ident(att.attname), ', ' ORDER BY key.place)
                   FILTER (WHERE key.attnum = ANY (con.confdelsetcols)) AS cleared
        FROM unnest(con.conkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS att ON att.attrelid = con.conrelid AND att.attnum = key.attnum
        WHERE key.attnum <> child.attnum
    ) AS own
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(att.attname), ', ' ORDER BY key.place) AS columns
        FROM unnest(con.confkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS att ON att.attrelid = con.confrelid AND att.attnum = key.attnum
        WHERE key.attnum <> parent.attnum
    ) AS refers
    WHERE con.contype = 'f'
      AND con.conparentid = 0
      AND own.columns IS NOT NULL
      AND refers.columns IS NOT NULL;
GRANT SELECT ON architect._tenant_foreign_keys TO PUBLIC;
COMMENT ON VIEW architect._tenant_foreign_keys IS
    'foreign keys between tables that have the tenant column, and how they would read with it';

-- Indexes of the tables, but for those that an index of the parent stands for.
CREATE OR REPLACE VIEW architect._tenant_indexes WITH (security_invoker = true) AS
    SELECT tenant.relid,
           tenant.name,
           tenant.relkind,
           tenant.column_name,
           tenant.attnum,
           index.indexrelid,
           class.relname,
           format('%I.%I', namespace.nspname, class.relname) AS index_name,
           method.amname,
           index.indisunique,
           index.indisexclusion,
           index.indkey::smallint[] AS indkey,
           index.indclass::oid[] AS indclass,
           index.indnkeyatts,
           index.indexprs,
           con.oid AS constraint_oid,
           con.conname,
           tenant.attnum = ANY ((index.indkey::smallint[])[0:index.indnkeyatts - 1]) AS has_tenant
    FROM architect._tenant_relations AS tenant
    JOIN pg_index AS index ON index.indrelid = tenant.relid AND index.indisvalid AND index.indislive
    JOIN pg_class AS class ON class.oid = index.indexrelid AND NOT class.relispartition
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    JOIN pg_am AS method ON method.oid = class.relam
    LEFT JOIN pg_constraint AS con
      ON con.conrelid = tenant.relid AND con.conindid = index.indexrelid AND con.contype IN ('p', 'u', 'x');
GRANT SELECT ON architect._tenant_indexes TO PUBLIC;
COMMENT ON VIEW architect._tenant_indexes IS 'indexes of tables that have the tenant column';

CREATE OR REPLACE VIEW architect._tenant_findings_column WITH (security_invoker = true) AS
    WITH tenant AS MATERIALIZED (
        SELECT relation.*,
               EXISTS (SELECT FROM pg_index AS index
                       WHERE index.indrelid = relation.relid AND index.indisvalid AND index.indislive
                         AND index.indpred IS NULL AND (index.indkey::smallint[])[0] = relation.attnum)
               -- A partition that holds one tenant's rows needs none.
               OR EXISTS (SELECT FROM pg_partitioned_table AS partitioned
                          WHERE partitioned.partrelid = relation.relid AND partitioned.partstrat = 'l'
                            AND partitioned.partattrs[0] = relation.attnum) AS has_index
        FROM architect._tenant_relations AS relation
        WHERE relation.relkind IN ('r', 'p')
    ), inherited AS MATERIALIZED (
        SELECT inherits.inhrelid AS relid, parent.attnotnull, parent.has_index, parent.relkind
        FROM pg_inherits AS inherits
        JOIN tenant AS parent ON parent.relid = inherits.inhparent
    )
    SELECT 'tenant_nullable' AS rule, 'warning' AS severity, tenant.relid::regclass AS relation,
           tenant.column_name::text AS object,
           'A row without a tenant is nobody''s: policies hide it from all, and unique keys do not hold for it.'
               AS detail,
           format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', tenant.name, tenant.column_name) AS fix
    FROM tenant
    WHERE NOT tenant.attnotnull
      AND NOT EXISTS (SELECT FROM inherited WHERE inherited.relid = tenant.relid AND NOT inherited.attnotnull)
    UNION ALL
    SELECT 'no_tenant_index', 'performance', tenant.relid::regclass, tenant.column_name,
           'No index begins with the tenant column, so that every query reads the rows of all tenants. '
           'On a table in use, add CONCURRENTLY.',
           format('CREATE INDEX ON %s (%I);', tenant.name, tenant.column_name)
    FROM tenant
    WHERE NOT tenant.has_index
      AND NOT EXISTS (SELECT FROM inherited WHERE inherited.relid = tenant.relid AND inherited.relkind = 'p')
      -- Instead of the index of a partitioned table, each partition may have one.
      AND NOT (tenant.relkind = 'p'
               AND EXISTS (SELECT FROM pg_inherits AS inherits WHERE inherits.inhparent = tenant.relid)
               AND NOT EXISTS (SELECT FROM pg_partition_tree(tenant.relid) AS part
                               JOIN tenant AS leaf ON leaf.relid = part.relid
                               WHERE part.isleaf AND NOT leaf.has_index));
GRANT SELECT ON architect._tenant_findings_column TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_column IS 'findings about the tenant column';

CREATE OR REPLACE VIEW architect._tenant_findings_key WITH (security_invoker = true) AS
    WITH index AS MATERIALIZED (
        SELECT * FROM architect._tenant_indexes
    ), key AS MATERIALIZED (
        SELECT * FROM architect._tenant_foreign_keys
    ), bare AS (
        -- Unique without the tenant.  A definition is cut behind the first parenthesis, after names
        -- that are somebody's: only if it begins as we know it does.
        SELECT index.*,
               CASE WHEN starts_with(definition.index, start.index)
                    THEN substr(definition.index, length(start.index) + 1) END AS index_rest,
               substr(definition.con, 1, strpos(definition.con, '(')) AS constraint_head,
               substr(definition.con, 1 + strpos(definition.con, '(')) AS constraint_rest
        FROM index
        CROSS JOIN LATERAL (
            SELECT format('CREATE UNIQUE INDEX %I ON %s%s USING %I (', index.relname,
                          CASE index.relkind WHEN 'p' THEN 'ONLY ' END, index.name, index.amname)
        ) AS start (index)
        CROSS JOIN LATERAL (
            SELECT pg_get_indexdef(index.indexrelid), pg_get_constraintdef(index.constraint_oid)
        ) AS definition (index, con)
        LEFT JOIN LATERAL architect.tenant_expression(index.indexprs, index.attnum) AS said
          ON index.indexprs IS NOT NULL
        WHERE (index.indisunique OR index.indisexclusion)
          AND NOT index.has_tenant
          AND said.mentions_tenant IS NOT TRUE
    )
    SELECT 'unique_without_tenant' AS rule,
           CASE WHEN guessed.easily THEN 'warning' ELSE 'hint' END AS severity,
           bare.relid::regclass AS relation, bare.relname::text AS object,
           'It is unique across tenants, so that an INSERT that fails tells that another tenant has the value.'
           || CASE WHEN refers.all_have_tenant THEN ''
                   ELSE ' A foreign key of a table without the tenant column needs it.' END AS detail,
           CASE
               WHEN NOT refers.all_have_tenant THEN NULL
               WHEN bare.constraint_oid IS NULL AND bare.index_rest IS NULL THEN NULL
               WHEN bare.constraint_oid IS NULL THEN
                   format('CREATE UNIQUE INDEX ON %s USING %I (%I, %s; DROP INDEX %s;',
                          bare.name, bare.amname, bare.column_name, bare.index_rest, bare.index_name)
               ELSE
                   concat(refers.drops,
                          format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s%4$I%5$s, %6$s;',
                                 bare.name, bare.conname, bare.constraint_head, bare.column_name,
                                 CASE WHEN bare.indisexclusion THEN ' WITH =' END, bare.constraint_rest),
                          refers.adds)
           END AS fix
    FROM bare
    CROSS JOIN LATERAL (
        SELECT bool_or(att.atttypid IS DISTINCT FROM 'uuid'::regtype) AS easily
        FROM unnest(bare.indkey[0:bare.indnkeyatts - 1]) AS part (attnum)
        LEFT JOIN pg_attribute AS att ON att.attrelid = bare.relid AND att.attnum = part.attnum AND part.attnum > 0
    ) AS guessed
    CROSS JOIN LATERAL (
        SELECT count(*) = count(key.oid) AS all_have_tenant,
               string_agg(key.drop || ';', ' ') || ' ' AS drops,
               ' ' || string_agg(format('ALTER TABLE %s %s;', key.name, key.add), ' ') AS adds
        FROM pg_constraint AS con
        LEFT JOIN key ON key.oid = con.oid
        WHERE con.contype = 'f' AND con.conindid = bare.indexrelid AND con.conparentid = 0
    ) AS refers
    UNION ALL
    SELECT 'foreign_key_without_tenant', 'warning', key.relid::regclass, key.conname,
           format('A row can refer to a row of another tenant in %s, which also tells that there is one: '
                  'foreign keys ask no policy.', key.parent_name),
           concat(CASE WHEN NOT key.has_key THEN key.add_key || ' ' END, key.drop, ', ', key.add, ';')
    FROM key
    WHERE NOT key.has_tenant
    UNION ALL
    SELECT 'cascade_across_tenants', 'critical', key.relid::regclass, key.conname,
           format('Who deletes a row of %s also %s rows of other tenants that refer to it: '
                  'foreign keys ask no policy.', key.parent_name,
                  CASE key.confdeltype WHEN 'c' THEN 'deletes' ELSE 'changes' END),
           concat(CASE WHEN NOT key.has_key THEN key.add_key || ' ' END, key.drop, ', ', key.add, ';')
    FROM key
    WHERE NOT key.has_tenant AND key.confdeltype IN ('c', 'n', 'd');
GRANT SELECT ON architect._tenant_findings_key TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_key IS 'findings about keys that leave the tenant out';

-- The operators of a condition run before the policy if they are leakproof, else after it: then no index can help.
CREATE OR REPLACE VIEW architect._tenant_findings_index WITH (security_invoker = true) AS
    WITH usable AS MATERIALIZED (
        SELECT DISTINCT operator.amopfamily, operator.amoplefttype
        FROM pg_amop AS operator
        JOIN pg_operator AS form ON form.oid = operator.amopopr
        JOIN pg_proc AS proc ON proc.oid = form.oprcode
        WHERE operator.amoppurpose = 's' AND proc.proleakproof
    ), part AS (
        -- The first column of each index that is not the tenant.
        SELECT DISTINCT ON (index.indexrelid) index.*, place.number, index.indkey[place.number] AS part_attnum
        FROM architect._tenant_indexes AS index
        JOIN architect._tenant_relations AS tenant
          ON tenant.relid = index.relid AND (tenant.secured OR tenant.registered)
        CROSS JOIN generate_series(0, index.indnkeyatts - 1) AS place (number)
        WHERE index.constraint_oid IS NULL AND NOT index.indisunique
          AND index.indkey[place.number] <> index.attnum
        ORDER BY index.indexrelid, place.number
    )
    SELECT 'index_not_leakproof' AS rule, 'performance' AS severity, part.relid::regclass AS relation,
           part.relname::text AS object,
           format('Under row-level security a condition on %s does not use it, as %s%s.',
                  pg_get_indexdef(part.indexrelid, part.number + 1, true),
                  CASE WHEN usable.amopfamily IS NULL THEN format('%I has no operator that is leakproof', class.opcname)
                       ELSE 'that expression is not leakproof' END,
                  CASE WHEN part.amname = 'btree' THEN '; it can still give an order' END) AS detail,
           concat(CASE WHEN part.indkey[0] = part.attnum
                       THEN format('CREATE INDEX ON %s (%I); ', part.name, part.column_name) END,
                  format('DROP INDEX %s;', part.index_name)) AS fix
    FROM part
    JOIN pg_opclass AS class ON class.oid = part.indclass[part.number]
    LEFT JOIN usable ON usable.amopfamily = class.opcfamily AND usable.amoplefttype = class.opcintype
    LEFT JOIN LATERAL architect.tenant_expression(part.indexprs, part.attnum) AS said ON part.part_attnum = 0
    WHERE usable.amopfamily IS NULL OR said.leaky;
GRANT SELECT ON architect._tenant_findings_index TO PUBLIC;
COMMENT ON VIEW architect._tenant_findings_index IS 'findings about indexes that row-level security keeps from use';
