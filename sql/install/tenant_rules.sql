-- tenant: what the rule book asks of keys, indexes and foreign keys of a protected table.

CREATE OR REPLACE FUNCTION architect._tenant_free_name(schema oid, wanted text)
    RETURNS name
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- A name has 63 bytes, of which some are for a number.
    stem text := substring(wanted::name::text FROM 1 FOR length(wanted::name::text)
                           - greatest(0, octet_length(wanted::name::text) - 58));
    candidate name := stem;
    number integer := 0;
BEGIN
    WHILE EXISTS (SELECT FROM pg_class AS class WHERE class.relnamespace = schema AND class.relname = candidate) LOOP
        number := number + 1;
        candidate := stem || number;
    END LOOP;
    RETURN candidate;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_free_name(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_free_name(oid, text) IS
    'a name for an index that no relation of the schema has';

CREATE OR REPLACE FUNCTION architect._tenant_note(relation regclass, subject text, reason text, rule text)
    RETURNS architect._tenant_step
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT architect._tenant_step(relation, format('-- %s stays as it is', replace(subject, E'\n', ' ')), reason,
                                  'none', NULL, true, '', rule)
$function$;
REVOKE ALL ON FUNCTION architect._tenant_note(regclass, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_note(regclass, text, text, text) IS
    'a step that does nothing and says why';

CREATE OR REPLACE FUNCTION architect._tenant_columns(relation oid, columns smallint[])
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    SELECT string_agg(quote_ident(attribute.attname), ', ' ORDER BY listed.place)
    FROM unnest(columns) WITH ORDINALITY AS listed (number, place)
    JOIN pg_attribute AS attribute ON attribute.attrelid = $1 AND attribute.attnum = listed.number
$function$;
REVOKE ALL ON FUNCTION architect._tenant_columns(oid, smallint[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_columns(oid, smallint[]) IS
    'a list of columns as SQL writes it';

CREATE OR REPLACE FUNCTION architect._tenant_key_list(old_list text, tenant_column name, place integer, keys text)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    -- After the opening parenthesis.  Where the column is there already, all must be plain columns.
    SELECT CASE WHEN place = 0 THEN format('%I, %s', tenant_column, old_list)
                WHEN starts_with(old_list, keys || ')')
                    THEN format('%I, %s%s', tenant_column,
                                array_to_string(array_remove(string_to_array(keys, ', '),
                                                             quote_ident(tenant_column)), ', '),
                                substr(old_list, length(keys) + 1))
           END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_key_list(text, name, integer, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_key_list(text, name, integer, text) IS
    'the rest of a definition from its list of columns on, with the tenant column first; NULL: it cannot be told';

CREATE OR REPLACE FUNCTION architect._tenant_fix_constraint(
        relation regclass, index_oid oid, column_name name, new_index text, leave boolean, rule text, why text)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    constrained pg_constraint%ROWTYPE;
    class record;
    old_definition text;
    key_word text;
    new_definition text;
    keys smallint[];
    new_name name;
BEGIN
    SELECT * INTO constrained FROM pg_constraint AS known
    WHERE known.conindid = index_oid AND known.contype IN ('p', 'u');
    SELECT owner.relkind, owner.relnamespace INTO class FROM pg_class AS owner WHERE owner.oid = relation;
    keys := (SELECT (index.indkey::smallint[])[0:index.indnkeyatts - 1] FROM pg_index AS index
             WHERE index.indexrelid = index_oid);
    old_definition := pg_get_constraintdef(constrained.oid);
    key_word := substring(old_definition FROM '^[A-Z ]+\(');
    new_definition := key_word || architect._tenant_key_list(
        substr(old_definition, length(key_word) + 1), column_name,
        coalesce(array_position(constrained.conkey,
                                (SELECT attribute.attnum FROM pg_attribute AS attribute
                                 WHERE attribute.attrelid = relation AND attribute.attname = column_name)), 0),
        architect._tenant_columns(relation, keys));
    IF new_definition IS NULL THEN
        RETURN NEXT architect._tenant_note(relation, format('constraint %I', constrained.conname),
                                           'its definition is of an uncommon kind', rule);
        RETURN;
    END IF;

    IF class.relkind = 'r' THEN
        new_name := architect._tenant_free_name(class.relnamespace, constrained.conname || '_new');
        RETURN NEXT architect._tenant_step(
            relation, format(new_index, 'CONCURRENTLY ', new_name), 'the index of the constraint that follows',
            format('SHARE UPDATE EXCLUSIVE on %s', relation),
            format('DROP INDEX CONCURRENTLY IF EXISTS %s.%I',
                   architect._tenant_verbatim(class.relnamespace::regnamespace::text), new_name),
            false, CASE WHEN NOT leave THEN '' END, rule, leave);
    END IF;
    RETURN NEXT architect._tenant_step(
        relation,
        CASE WHEN class.relkind = 'r'
             THEN format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s USING INDEX %I%s%s', relation,
                         constrained.conname, constrained.conname,
                         CASE constrained.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, new_name,
                         CASE WHEN constrained.condeferrable THEN ' DEFERRABLE' ELSE '' END,
                         CASE WHEN constrained.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END)
             ELSE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', relation,
                         constrained.conname, constrained.conname, new_definition) END,
        why, format('ACCESS EXCLUSIVE on %s', relation) || CASE class.relkind WHEN 'r' THEN ', briefly' ELSE '' END,
        format('ALTER TABLE %%1$s DROP CONSTRAINT %s, ADD CONSTRAINT %s %s',
               architect._tenant_verbatim(quote_ident(constrained.conname)),
               architect._tenant_verbatim(quote_ident(constrained.conname)),
               architect._tenant_verbatim(old_definition)),
        true, format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', relation,
                     constrained.conname, constrained.conname, new_definition),
        rule, leave);
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_fix_constraint(regclass, oid, name, text, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_fix_constraint(regclass, oid, name, text, boolean, text, text) IS
    'the steps that put the tenant column first in a primary key or unique constraint';

CREATE OR REPLACE FUNCTION architect._tenant_fix_index(
        relation regclass, index_oid oid, column_name name, leave boolean, rule text, why text)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    old record;
    head text;
    new_list text;
    new_index text;
    new_name name;
    lock text := format('SHARE UPDATE EXCLUSIVE on %s', relation);
BEGIN
    SELECT class.relname, class.relnamespace, class.relnamespace::regnamespace AS schema, owner.relkind,
           index.indisunique, index.indisreplident, pg_get_indexdef(index_oid) AS definition, method.amname,
           array_position((index.indkey::smallint[])[0:index.indnkeyatts - 1], attribute.attnum) AS place,
           architect._tenant_columns(relation, (index.indkey::smallint[])[0:index.indnkeyatts - 1]) AS keys,
           EXISTS (SELECT FROM pg_constraint AS own
                   WHERE own.conindid = index_oid AND own.contype IN ('p', 'u')) AS is_constraint,
           (SELECT link.conrelid::regclass FROM pg_constraint AS link
            WHERE link.conindid = index_oid AND link.contype = 'f' LIMIT 1) AS referrer
    INTO old
    FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid
    JOIN pg_am AS method ON method.oid = class.relam
    JOIN pg_class AS owner ON owner.oid = relation
    LEFT JOIN pg_attribute AS attribute ON attribute.attrelid = relation AND attribute.attname = column_name
    WHERE index.indexrelid = index_oid;

    head := format('CREATE %sINDEX %I ON %s%s USING %s (', CASE WHEN old.indisunique THEN 'UNIQUE ' ELSE '' END,
                   old.relname, CASE old.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END, relation, old.amname);
    IF starts_with(old.definition, head) THEN
        new_list := architect._tenant_key_list(substr(old.definition, length(head) + 1), column_name,
                                               CASE WHEN old.place IS NULL THEN 0 ELSE 1 END, old.keys);
    END IF;
    new_index := format('CREATE %sINDEX %%s%%I ON %s USING %s (%s',
                        CASE WHEN old.indisunique THEN 'UNIQUE ' ELSE '' END,
                        architect._tenant_verbatim(relation::text), old.amname, architect._tenant_verbatim(new_list));

    IF old.referrer IS NOT NULL OR old.indisreplident OR new_list IS NULL THEN
        RETURN NEXT architect._tenant_note(
            relation, format('index %I', old.relname),
            CASE WHEN old.referrer IS NOT NULL THEN format('a foreign key of %s refers to it', old.referrer)
                 WHEN old.indisreplident THEN 'logical replication names rows by it'
                 ELSE 'its definition is of an uncommon kind' END, rule);
        RETURN;
    ELSIF old.is_constraint THEN
        RETURN QUERY SELECT * FROM architect._tenant_fix_constraint(relation, index_oid, column_name, new_index,
                                                                    leave, rule, why);
        RETURN;
    END IF;

    new_name := architect._tenant_free_name(old.relnamespace, old.relname || '_new');
    RETURN NEXT architect._tenant_step(
        relation, format(new_index, CASE old.relkind WHEN 'r' THEN 'CONCURRENTLY ' ELSE '' END, new_name), why,
        CASE old.relkind WHEN 'r' THEN lock ELSE format('SHARE on %s and its partitions', relation) END,
        architect._tenant_verbatim(format('DROP INDEX IF EXISTS %s.%I', old.schema, new_name)),
        old.relkind <> 'r', format(new_index, '', new_name), rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('DROP INDEX %s%s.%I', CASE old.relkind WHEN 'r' THEN 'CONCURRENTLY ' ELSE '' END,
                         old.schema, old.relname),
        'the new one does its work',
        CASE old.relkind WHEN 'r' THEN lock ELSE format('ACCESS EXCLUSIVE on %s', relation) END,
        architect._tenant_verbatim(CASE old.relkind WHEN 'p' THEN replace(old.definition, ' ON ONLY ', ' ON ')
                                          ELSE old.definition END),
        old.relkind <> 'r', format('DROP INDEX %s.%I', old.schema, old.relname), rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER INDEX %s.%I RENAME TO %I', old.schema, new_name, old.relname),
        'it keeps the name', 'SHARE UPDATE EXCLUSIVE on the index',
        architect._tenant_verbatim(format('ALTER INDEX %s.%I RENAME TO %I', old.schema, old.relname, new_name)),
        true, NULL, rule, leave);
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_fix_index(regclass, oid, name, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_fix_index(regclass, oid, name, boolean, text, text) IS
    'the steps that put the tenant column first in an index';

CREATE OR REPLACE FUNCTION architect._tenant_fix_reference(
        relation regclass, link pg_constraint, column_name name, has_key boolean, leave boolean)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    parent regclass := link.confrelid;
    theirs pg_attribute := architect._tenant_column_of(link.confrelid, column_name);
    ours text := architect._tenant_columns(link.conrelid, link.conkey);
    old_definition text := pg_get_constraintdef(link.oid);
    head text := format('FOREIGN KEY (%s) REFERENCES %s(%s)', ours, parent,
                        architect._tenant_columns(parent, link.confkey));
    -- No name is in what follows, so that names cannot be taken for it.
    tail text := regexp_replace(substr(old_definition, length(head) + 1), '^ MATCH FULL| NOT VALID$', '', 'g');
    tables record;
    new_definition text;
    new_name name;
    not_valid text;
    instead text := CASE WHEN NOT leave THEN '' END;
    rule text := 'foreign key';
BEGIN
    -- A table that refers to itself gets the column with this plan.
    theirs.attname := coalesce(theirs.attname, column_name);
    SELECT own.relkind AS kind, own.relowner = other.relowner AS same_owner, other.relkind AS parent_kind,
           other.relname AS parent_name, other.relnamespace AS parent_schema,
           has_key OR EXISTS (
                   SELECT FROM pg_index AS index
                   WHERE index.indrelid = parent AND index.indisunique AND index.indimmediate AND index.indisvalid
                     AND index.indpred IS NULL
                     AND index.indnkeyatts = cardinality(link.confkey) + 1
                     AND (index.indkey::smallint[])[0:index.indnkeyatts - 1] @> (link.confkey || theirs.attnum))
               AS has_key
    INTO tables
    FROM pg_class AS own
    JOIN pg_class AS other ON other.oid = parent
    WHERE own.oid = relation;
    not_valid := CASE tables.kind WHEN 'r' THEN ' NOT VALID' ELSE '' END;

    IF NOT starts_with(old_definition, head) OR link.confupdtype IN ('n', 'd')
       OR link.confmatchtype = 'f' AND cardinality(link.conkey) > 1
       OR NOT tables.has_key AND (tables.parent_kind <> 'r' OR NOT tables.same_owner) THEN
        RETURN NEXT architect._tenant_note(
            relation, format('foreign key %I', link.conname),
            CASE WHEN tables.has_key THEN 'with the tenant column it would not do what it does now'
                 ELSE format('%s needs a unique index on %I and the columns referred to first', parent, theirs.attname)
            END, rule);
        RETURN;
    END IF;

    IF link.confdelsetcols IS NULL THEN
        -- The tenant stays, whatever becomes of the row referred to.
        tail := regexp_replace(tail, ' ON DELETE SET (NULL|DEFAULT)',
                               format(' ON DELETE SET \1 (%s)', replace(ours, '\', '\\')));
    END IF;
    new_definition := format('FOREIGN KEY (%I, %s) REFERENCES %s(%I, %s)%s', column_name, ours, parent, theirs.attname,
                             architect._tenant_columns(parent, link.confkey), tail);

    IF NOT tables.has_key THEN
        new_name := architect._tenant_free_name(tables.parent_schema, tables.parent_name || '_tenant_key');
        RETURN NEXT architect._tenant_step(
            relation,
            format('CREATE UNIQUE INDEX CONCURRENTLY %I ON %s (%I, %s)', new_name, parent, theirs.attname,
                   architect._tenant_columns(parent, link.confkey)),
            format('what foreign key %I will refer to', link.conname),
            format('SHARE UPDATE EXCLUSIVE on %s', parent),
            architect._tenant_verbatim(format('DROP INDEX IF EXISTS %s.%I',
                                              tables.parent_schema::regnamespace, new_name)),
            false, format('CREATE UNIQUE INDEX %I ON %s (%I, %s)', new_name, parent, theirs.attname,
                          architect._tenant_columns(parent, link.confkey)), rule, leave);
    END IF;
    new_name := left(link.conname, 55) || '_tenant';
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s ADD CONSTRAINT %I %s%s', relation, new_name, new_definition, not_valid),
        format('a row cannot refer to one of another tenant in %s', parent),
        format('SHARE ROW EXCLUSIVE on %s and %s', relation, parent), NULL, true, instead, rule, leave);
    IF not_valid <> '' THEN
        RETURN NEXT architect._tenant_step(
            relation, format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relation, new_name),
            'old rows are checked while others read and write',
            format('SHARE UPDATE EXCLUSIVE on %s, ROW SHARE on %s', relation, parent), NULL,
            false, instead, rule, leave);
    END IF;
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s DROP CONSTRAINT %I', relation, link.conname), 'the new one does its work',
        format('ACCESS EXCLUSIVE on %s and %s, briefly', relation, parent),
        format('ALTER TABLE %%1$s DROP CONSTRAINT %s, ADD CONSTRAINT %s %s',
               architect._tenant_verbatim(quote_ident(link.conname)),
               architect._tenant_verbatim(quote_ident(link.conname)), architect._tenant_verbatim(old_definition)),
        true, format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', relation, link.conname, link.conname,
                     new_definition), rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', relation, new_name, link.conname),
        'it keeps the name', format('ACCESS EXCLUSIVE on %s, briefly', relation), NULL, true, instead, rule, leave);
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_fix_reference(regclass, pg_constraint, name, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_fix_reference(regclass, pg_constraint, name, boolean, boolean) IS
    'the steps that bring the tenant column into a foreign key';

CREATE OR REPLACE FUNCTION architect._tenant_rules(
        relation regclass, column_name name, becomes_not_null boolean, leave boolean)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    attribute pg_attribute%ROWTYPE;
    class pg_class%ROWTYPE;
    leads boolean;
    new_name name;
    item record;
    step architect._tenant_step;
    referred_to text[] := '{}';
BEGIN
    SELECT * INTO class FROM pg_class AS known WHERE known.oid = relation;
    SELECT * INTO attribute FROM pg_attribute AS known
    WHERE known.attrelid = relation AND known.attname = column_name AND NOT known.attisdropped;
    IF NOT FOUND THEN
        -- It is added by this plan, which knows more of the table when it has it.
        attribute.attnum := 0;
    ELSIF NOT attribute.attnotnull AND NOT becomes_not_null THEN
        RETURN QUERY SELECT * FROM architect._tenant_not_null(relation, column_name, leave, 'not null');
    END IF;

    leads := EXISTS (SELECT FROM pg_index AS index
                     JOIN pg_class AS index_class ON index_class.oid = index.indexrelid
                     JOIN pg_am AS method ON method.oid = index_class.relam AND method.amname IN ('btree', 'hash')
                     WHERE index.indrelid = relation AND index.indisvalid AND index.indpred IS NULL
                       AND index.indkey[0] = attribute.attnum AND attribute.attnum > 0);
    FOR item IN
        SELECT index.indexrelid, index.indpred IS NULL AS is_whole,
               CASE WHEN index.indisprimary THEN 'primary key'
                    WHEN index.indisunique THEN 'unique'
                    ELSE 'index' END AS rule,
               CASE WHEN index.indisunique AND NOT attribute.attnum = ANY (keys.numbers)
                    THEN 'values of one tenant would tell of those of another; ON CONFLICT has to name the column, too'
                    ELSE 'the rows of a tenant are found together' END AS why
        FROM pg_index AS index
        JOIN pg_class AS index_class ON index_class.oid = index.indexrelid
        JOIN pg_am AS method ON method.oid = index_class.relam AND method.amname = 'btree'
        CROSS JOIN LATERAL (SELECT (index.indkey::smallint[])[0:index.indnkeyatts - 1] AS numbers) AS keys
        WHERE index.indrelid = relation AND index.indisvalid AND NOT index.indisexclusion
          AND index.indkey[0] <> attribute.attnum OR index.indrelid = relation AND attribute.attnum = 0
        ORDER BY index.indisprimary DESC, index_class.relname COLLATE "C"
    LOOP
        CONTINUE WHEN item.rule = 'primary key' AND (SELECT index.indnkeyatts = 1 FROM pg_index AS index
                                                     WHERE index.indexrelid = item.indexrelid)
                   OR item.rule = 'index' AND NOT (SELECT attribute.attnum = ANY (index.indkey::smallint[])
                                                   FROM pg_index AS index WHERE index.indexrelid = item.indexrelid);
        FOR step IN SELECT * FROM architect._tenant_fix_index(relation, item.indexrelid, column_name, leave,
                                                              item.rule, item.why) LOOP
            RETURN NEXT step;
            leads := leads OR item.is_whole AND step.statement NOT LIKE '--%';
        END LOOP;
    END LOOP;
    IF NOT leads THEN
        new_name := architect._tenant_free_name(class.relnamespace, format('%s_%s_idx', class.relname, column_name));
        RETURN NEXT architect._tenant_step(
            relation, format('CREATE INDEX %s%I ON %s (%I)',
                             CASE class.relkind WHEN 'r' THEN 'CONCURRENTLY ' ELSE '' END,
                             new_name, relation, column_name),
            'the rows of a tenant are found without reading those of others',
            CASE class.relkind WHEN 'r' THEN format('SHARE UPDATE EXCLUSIVE on %s', relation)
                 ELSE format('SHARE on %s and its partitions', relation) END,
            architect._tenant_verbatim(format('DROP INDEX IF EXISTS %s.%I',
                                              class.relnamespace::regnamespace, new_name)),
            class.relkind <> 'r', format('CREATE INDEX %I ON %s (%I)', new_name, relation, column_name),
            'index', leave);
    END IF;

    FOR item IN
        SELECT link AS row, format('%s %s', link.confrelid, link.confkey) AS referred
        FROM pg_constraint AS link
        CROSS JOIN LATERAL architect._tenant_column_of(link.confrelid, column_name) AS theirs
        WHERE link.conrelid = relation AND link.contype = 'f' AND link.conparentid = 0
          AND (theirs.attname IS NOT NULL OR link.confrelid = relation)
          AND (attribute.attnum = 0 OR theirs.attname IS NULL
               OR architect._tenant_kind_of(theirs.atttypid) = architect._tenant_kind_of(attribute.atttypid))
          AND NOT EXISTS (SELECT FROM unnest(link.conkey, link.confkey) AS pair (ours, theirs)
                          WHERE pair.ours = attribute.attnum AND pair.theirs = theirs.attnum)
          AND NOT attribute.attnum = ANY (link.conkey)
        ORDER BY link.conname COLLATE "C"
    LOOP
        RETURN QUERY SELECT * FROM architect._tenant_fix_reference(relation, item.row, column_name,
                                                                   item.referred = ANY (referred_to), leave);
        referred_to := referred_to || item.referred;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_rules(regclass, name, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_rules(regclass, name, boolean, boolean) IS
    'the steps by which a table comes to follow the rule book';
