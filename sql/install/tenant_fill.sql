-- tenant: a tenant column where there is none, filled through foreign keys.

CREATE OR REPLACE FUNCTION architect._tenant_column_of(relation oid, tenant_column name)
    RETURNS pg_attribute
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT attribute
    FROM pg_attribute AS attribute
    LEFT JOIN architect.tenant_registry AS registered ON registered.relation = attribute.attrelid
    WHERE attribute.attrelid = $1
      AND attribute.attname = coalesce(registered.column_name, tenant_column)
      AND attribute.attnum > 0
      AND NOT attribute.attisdropped
      AND architect._tenant_kind_of(attribute.atttypid) IS NOT NULL
$function$;
REVOKE ALL ON FUNCTION architect._tenant_column_of(oid, name) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_column_of(oid, name) IS
    'the tenant column of a table: the registered one, or that of this name; NULL: it has none';

CREATE OR REPLACE FUNCTION architect._tenant_named_path(target regclass, tenant_column name, path name[])
    RETURNS oid[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    here oid := target;
    hop name;
    fitting oid[];
    hops oid[] := '{}';
BEGIN
    FOREACH hop IN ARRAY path LOOP
        -- By its own name, or by that of its only column.
        fitting := ARRAY(SELECT link.oid FROM pg_constraint AS link
                         WHERE link.conrelid = here AND link.contype = 'f' AND link.conname = hop);
        IF fitting = '{}' THEN
            fitting := ARRAY(SELECT link.oid FROM pg_constraint AS link
                             JOIN pg_attribute AS attribute
                               ON attribute.attrelid = here AND link.conkey = ARRAY[attribute.attnum]
                             WHERE link.conrelid = here AND link.contype = 'f' AND attribute.attname = hop);
        END IF;
        IF cardinality(fitting) <> 1 THEN
            RAISE EXCEPTION USING
                ERRCODE = 'undefined_object',
                MESSAGE = format(CASE cardinality(fitting) WHEN 0 THEN 'table %s has no foreign key "%s"'
                                 ELSE 'table %s has more than one foreign key of column "%s"' END, here::regclass, hop),
                HINT = 'Name foreign keys, or columns that have one each, from this table to one with a tenant column.';
        END IF;
        hops := hops || fitting;
        here := (SELECT link.confrelid FROM pg_constraint AS link WHERE link.oid = fitting[1]);
    END LOOP;
    IF (architect._tenant_column_of(here, tenant_column)).attname IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_column',
            MESSAGE = format('the path ends at table %s, which has no tenant column', here::regclass),
            HINT = 'Name a path to a table that has one.';
    END IF;
    RETURN hops;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_named_path(regclass, name, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_named_path(regclass, name, name[]) IS
    'the foreign keys that the path names; raises where it does not lead to a tenant column';

CREATE OR REPLACE FUNCTION architect._tenant_path(target regclass, tenant_column name, path name[])
    RETURNS oid[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shortest record;
BEGIN
    IF cardinality(path) > 0 THEN
        RETURN architect._tenant_named_path(target, tenant_column, path);
    END IF;

    WITH RECURSIVE walk AS (
        SELECT ARRAY[link.oid] AS hops, ARRAY[target::oid, link.confrelid] AS seen, link.confrelid AS here,
               (architect._tenant_column_of(link.confrelid, tenant_column)).attname IS NOT NULL AS arrived
        FROM pg_constraint AS link
        WHERE link.contype = 'f' AND link.conrelid = target AND link.confrelid <> target
        UNION ALL
        SELECT walk.hops || link.oid, walk.seen || link.confrelid, link.confrelid,
               (architect._tenant_column_of(link.confrelid, tenant_column)).attname IS NOT NULL
        FROM walk
        JOIN pg_constraint AS link ON link.contype = 'f' AND link.conrelid = walk.here
        WHERE NOT walk.arrived
          AND link.confrelid <> ALL (walk.seen)
          AND cardinality(walk.hops) < 5
    ), arrived AS (
        SELECT walk.hops, min(cardinality(walk.hops)) OVER () AS least
        FROM walk
        WHERE walk.arrived
    )
    SELECT (array_agg(arrived.hops))[1:1] AS hops, count(*) AS ways,
           string_agg((SELECT '{' || string_agg(format('%s', link.conname), ',' ORDER BY hop.number) || '}'
                       FROM unnest(arrived.hops) WITH ORDINALITY AS hop (oid, number)
                       JOIN pg_constraint AS link ON link.oid = hop.oid),
                      ', ' ORDER BY arrived.hops) AS names
    INTO shortest
    FROM arrived
    WHERE cardinality(arrived.hops) = arrived.least;
    IF shortest.ways > 1 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'ambiguous_parameter',
            MESSAGE = format('more than one path of foreign keys leads from table %s to a tenant column', target),
            DETAIL = format('These do: %s.', shortest.names),
            HINT = 'Name the one that says whose row it is: path => ''{…}''.';
    END IF;
    RETURN ARRAY(SELECT hop FROM unnest(shortest.hops) AS hop);
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_path(regclass, name, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_path(regclass, name, name[]) IS
    'the foreign keys, from a table on, to one that has a tenant column: as named, else the shortest way; empty: none';

CREATE OR REPLACE FUNCTION architect._tenant_new_type(
        target regclass, tenant_column name, column_type regtype, path name[])
    RETURNS oid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    hops oid[] := architect._tenant_path(target, tenant_column, path);
    source oid := (SELECT link.confrelid FROM pg_constraint AS link WHERE link.oid = hops[cardinality(hops)]);
    type oid := coalesce(column_type, (architect._tenant_column_of(source, tenant_column)).atttypid);
BEGIN
    IF type IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('no type is known for column "%s" of table %s', tenant_column, target),
            DETAIL = 'No foreign key leads from the table to one that has a tenant column.',
            HINT = 'Name the type: column_type => ''uuid''.';
    ELSIF architect._tenant_kind_of(type) IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'datatype_mismatch',
            MESSAGE = format('a tenant column cannot be of type %s', format_type(type, NULL)),
            HINT = 'A tenant column is of type uuid, bigint, integer or text, or a domain over one of them.';
    END IF;
    RETURN type;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_new_type(regclass, name, regtype, name[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_new_type(regclass, name, regtype, name[]) IS
    'the type of a tenant column that is to be added: as asked for, or that of the column it is filled from';

CREATE OR REPLACE FUNCTION architect._tenant_fill_statement(target regclass, tenant_column name, hops oid[])
    RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
    WITH hop AS (
        SELECT link.*, walked.number, format('hop_%s', walked.number) AS alias,
               CASE walked.number WHEN 1 THEN 'own' ELSE format('hop_%s', walked.number - 1) END AS former
        FROM unnest(hops) WITH ORDINALITY AS walked (oid, number)
        JOIN pg_constraint AS link ON link.oid = walked.oid
    )
    SELECT format('UPDATE %s AS own SET %I = %s.%I FROM %s WHERE %s AND own.%I IS NULL', target, tenant_column,
                  (array_agg(hop.alias ORDER BY hop.number DESC))[1],
                  (architect._tenant_column_of((array_agg(hop.confrelid ORDER BY hop.number DESC))[1],
                                               tenant_column)).attname,
                  string_agg(format('%s AS %s', hop.confrelid::regclass, hop.alias), ', ' ORDER BY hop.number),
                  string_agg((SELECT string_agg(format('%s.%I OPERATOR(%I.%s) %s.%I', hop.alias, theirs.attname,
                                                       namespace.nspname, operator.oprname, hop.former, ours.attname),
                                                ' AND ' ORDER BY pair.number)
                              FROM unnest(hop.conkey, hop.confkey, hop.conpfeqop) WITH ORDINALITY
                                  AS pair (ours, theirs, operator, number)
                              JOIN pg_attribute AS ours
                                ON ours.attrelid = hop.conrelid AND ours.attnum = pair.ours
                              JOIN pg_attribute AS theirs
                                ON theirs.attrelid = hop.confrelid AND theirs.attnum = pair.theirs
                              JOIN pg_operator AS operator ON operator.oid = pair.operator
                              JOIN pg_namespace AS namespace ON namespace.oid = operator.oprnamespace),
                             ' AND ' ORDER BY hop.number),
                  tenant_column)
    FROM hop
    HAVING count(*) > 0
$function$;
REVOKE ALL ON FUNCTION architect._tenant_fill_statement(regclass, name, oid[]) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_fill_statement(regclass, name, oid[]) IS
    'the UPDATE that fills a tenant column through these foreign keys';

CREATE OR REPLACE FUNCTION architect._tenant_not_null(relation regclass, column_name name, leave boolean, rule text)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    exclusive text := format('ACCESS EXCLUSIVE on %s', relation);
    -- In one transaction, SET NOT NULL looks at the rows itself.
    instead text := CASE WHEN NOT leave THEN '' END;
BEGIN
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s ADD CONSTRAINT architect_tenant_not_null CHECK (%I IS NOT NULL) NOT VALID',
                         relation, column_name),
        'new rows are checked from here on', exclusive || ', briefly',
        'ALTER TABLE %1$s DROP CONSTRAINT IF EXISTS architect_tenant_not_null', true, instead, rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s VALIDATE CONSTRAINT architect_tenant_not_null', relation),
        'old rows are checked while others read and write', format('SHARE UPDATE EXCLUSIVE on %s', relation),
        NULL, false, instead, rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', relation, column_name),
        'a row without tenant would be nobody''s; the constraint proves that there is none', exclusive || ', briefly',
        'ALTER TABLE %1$s ALTER COLUMN %2$I DROP NOT NULL', true, NULL, rule, leave);
    RETURN NEXT architect._tenant_step(
        relation, format('ALTER TABLE %s DROP CONSTRAINT architect_tenant_not_null', relation),
        'it has served its purpose', exclusive || ', briefly', NULL, true, instead, rule, leave);
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_not_null(regclass, name, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_not_null(regclass, name, boolean, text) IS
    'the steps by which a column becomes NOT NULL';

CREATE OR REPLACE FUNCTION architect._tenant_fill(
        target regclass, tenant_column name, column_type regtype, path name[], leave boolean)
    RETURNS SETOF architect._tenant_step
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
DECLARE
    exclusive text := format('ACCESS EXCLUSIVE on %s', target);
    present pg_attribute := architect._tenant_column_of(target, tenant_column);
    hops oid[] := architect._tenant_path(target, tenant_column, path);
    type oid := coalesce(present.atttypid, architect._tenant_new_type(target, tenant_column, column_type, path));
    is_empty boolean := (SELECT sum(pg_relation_size(tree.relation)) = 0 FROM architect._tenant_tree(target)
                         AS tree (relation));
    closed regclass;
    closed_ones regclass[] := ARRAY(SELECT DISTINCT link.confrelid::regclass FROM pg_constraint AS link
                                    JOIN pg_class AS class ON class.oid = link.confrelid
                                    WHERE link.oid = ANY (hops) AND class.relforcerowsecurity);
BEGIN
    IF present.attname IS NULL THEN
        IF hops = '{}' AND NOT is_empty THEN
            RAISE EXCEPTION USING
                ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = format('cannot tell whose the rows of table %s are', target),
                DETAIL = 'No foreign key leads from the table to one that has a tenant column.',
                HINT = 'Name a path, or add the column, fill it and call this again.';
        END IF;
        RETURN NEXT architect._tenant_step(
            target, format('ALTER TABLE %s ADD COLUMN %I %s', target, tenant_column, format_type(type, NULL)),
            'it says whose row it is', exclusive || ', briefly', 'ALTER TABLE %1$s DROP COLUMN %2$I',
            true, NULL, 'column', leave AND NOT is_empty);
    END IF;
    IF NOT coalesce(present.atthasdef, false) THEN
        RETURN NEXT architect._tenant_step(
            target, format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT architect.tenant_%s()', target, tenant_column,
                           architect._tenant_kind_of(type)),
            'new rows belong to the tenant who inserts them', exclusive || ', briefly',
            'ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT', true, NULL, 'column', leave AND NOT is_empty);
    END IF;
    IF NOT coalesce(present.attnotnull, false) THEN
        IF hops <> '{}' AND NOT is_empty THEN
            -- The policies there hold for the owner, too.
            FOREACH closed IN ARRAY CASE WHEN leave THEN '{}' ELSE closed_ones END LOOP
                RETURN NEXT architect._tenant_step(
                    target, format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', closed),
                    format('the owner has to see all rows of %s, in this transaction only', closed),
                    format('ACCESS EXCLUSIVE on %s', closed), NULL, true, NULL, 'column');
            END LOOP;
            RETURN NEXT architect._tenant_step(
                target,
                format(CASE WHEN leave AND closed_ones <> '{}'
                            THEN 'BEGIN; SELECT architect.tenant_cross(%L, false); %s; COMMIT' ELSE '%2$s' END,
                       format('fill column %s of %s', tenant_column, target),
                       architect._tenant_fill_statement(target, tenant_column, hops)),
                'rows belong to the tenant of what they refer to; fill a large table in parts',
                format('ROW EXCLUSIVE on %s, and each row until the end', target), NULL,
                NOT leave OR closed_ones = '{}', NULL, 'fill', leave);
            FOREACH closed IN ARRAY CASE WHEN leave THEN '{}' ELSE closed_ones END LOOP
                RETURN NEXT architect._tenant_step(
                    target, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', closed), 'as it was before',
                    format('ACCESS EXCLUSIVE on %s', closed), NULL, true, NULL, 'column');
            END LOOP;
        END IF;
        RETURN QUERY SELECT * FROM architect._tenant_not_null(target, tenant_column, leave AND NOT is_empty, 'column');
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION architect._tenant_fill(regclass, name, regtype, name[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION architect._tenant_fill(regclass, name, regtype, name[], boolean) IS
    'the steps by which a table gets a tenant column that is filled, NOT NULL and has the tenant as default';
