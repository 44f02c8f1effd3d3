/*
 * trial_path.c
 *    The ways to the rows of a table, and what the role may do on each.
 *
 * They are the table, each partition and inheritance child of it, and each view over
 * one of these, or over such a view.  Anybody can make a view over a table that he may
 * not even read, and what is in it would run in the trial: only those of the owner are
 * tried, and of whoever has his rights.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "tenant/trial.h"

static const char *const paths_query =
"WITH RECURSIVE tables (relid, depth) AS ("
" SELECT $1::oid, 0 UNION ALL"
" SELECT inhrelid, depth + 1 FROM tables JOIN pg_inherits ON inhparent = relid),"
" paths (relid, storage, depth, stranger) AS ("
" SELECT relid, relid, depth, NULL::name FROM tables UNION"
" SELECT ev_class, storage, depth, CASE"
"  WHEN relkind = 'm' THEN NULL"
"  WHEN NOT pg_has_role(relowner, $2, 'USAGE') THEN pg_get_userbyid(relowner)"
"  ELSE stranger END"
" FROM paths"
" JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = relid AND classid = 'pg_rewrite'::regclass"
" JOIN pg_rewrite ON pg_rewrite.oid = objid"
" JOIN pg_class ON pg_class.oid = ev_class AND relkind IN ('v', 'm')"
" WHERE ev_class <> relid),"
" nearest AS (SELECT DISTINCT ON (relid) relid, storage, max(stranger) OVER (PARTITION BY relid) AS stranger"
" FROM paths ORDER BY relid, depth, storage)"
" SELECT relid, storage, relkind, stranger"
" FROM nearest JOIN pg_class ON pg_class.oid = relid"
" ORDER BY relkind IN ('v', 'm'), relid = $1 DESC, relid::regclass::text COLLATE \"C\"";

/*
 * Columns that the path has in common with the rows of its table, by name.  The key is
 * the primary key, else a unique index over columns that cannot be NULL.
 */
static const char *const columns_query =
"WITH key AS ("
" SELECT (indkey::int2[])[0:indnkeyatts - 1] AS columns, indnkeyatts FROM pg_index"
" WHERE indrelid = $2 AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL"
" AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND NOT attnotnull)"
" ORDER BY indisprimary DESC, indexrelid LIMIT 1),"
" columns AS ("
" SELECT at.attnum, quote_ident(at.attname) AS name,"
" format_type(at.atttypid, NULL) AS type, at.attname = $4 AS is_tenant,"
" coalesce(stored.attnum = ANY ((SELECT key.columns FROM key)::int2[]), false) AS is_key,"
" stored.attgenerated <> '' AS is_generated, stored.attidentity = 'a' AS is_identity,"
" has_column_privilege($3, at.attrelid, at.attnum, 'SELECT') AS is_readable,"
" has_column_privilege($3, at.attrelid, at.attnum, 'INSERT') AS is_insertable,"
" has_column_privilege($3, at.attrelid, at.attnum, 'UPDATE') AS is_updatable,"
" relkind IN ('r', 'p') OR pg_column_is_updatable(at.attrelid, at.attnum, true) AS is_writable,"
" stored.attnum IS NOT NULL AS is_stored"
" FROM pg_attribute AS at JOIN pg_class ON pg_class.oid = at.attrelid"
" LEFT JOIN pg_attribute AS stored ON stored.attrelid = $2 AND stored.attname = at.attname"
"  AND stored.atttypid = at.atttypid AND NOT stored.attisdropped"
" WHERE at.attrelid = $1 AND at.attnum > 0 AND NOT at.attisdropped),"
" facts AS (SELECT"
" string_agg(name, ', ' ORDER BY attnum) FILTER (WHERE is_readable) AS readable,"
" string_agg(name, ', ' ORDER BY attnum) FILTER (WHERE is_new) AS columns,"
" string_agg(format('($1).%s', name), ', ' ORDER BY attnum) FILTER (WHERE is_new) AS values,"
" string_agg(CASE WHEN is_tenant THEN format('$4::%s', $5) ELSE format('($1).%s', name) END, ', ' ORDER BY attnum)"
"  FILTER (WHERE is_new) AS values_acting,"
" string_agg(format('%s OPERATOR(pg_catalog.=) ($1).%1$s', name), ' AND ' ORDER BY attnum)"
"  FILTER (WHERE is_key OR is_tenant) AS stored,"
" bool_and(is_readable) FILTER (WHERE is_key OR is_tenant) AS is_key_readable,"
" count(*) FILTER (WHERE is_key) = (SELECT indnkeyatts FROM key) AS is_key_whole,"
" string_agg(name, ', ' ORDER BY attnum) FILTER (WHERE is_key) AS conflict,"
" string_agg(format('%s::text', name), ', ' ORDER BY attnum) FILTER (WHERE is_key) AS key,"
" string_agg(format('%s OPERATOR(pg_catalog.=) ($4::text[])[%s]::%s', name, number, type), ' AND ' ORDER BY attnum)"
"  FILTER (WHERE is_key) AS key_match,"
" bool_or(is_tenant AND is_readable AND is_stored) AS has_tenant,"
" (array_agg(name ORDER BY is_tenant, is_key, attnum)"
"  FILTER (WHERE is_stored AND is_updatable AND is_writable AND NOT is_generated AND NOT is_identity))[1] AS updated,"
" max(name) FILTER (WHERE is_tenant AND is_stored AND is_writable) AS tenant"
" FROM (SELECT *, count(*) FILTER (WHERE is_key) OVER (ORDER BY attnum) AS number FROM columns) AS columns"
" CROSS JOIN LATERAL"
" (SELECT is_stored AND is_insertable AND is_writable AND NOT is_generated) AS new (is_new))"
" SELECT readable, columns, values, values_acting,"
" CASE WHEN relkind IN ('r', 'p') AND has_table_privilege($3, pg_class.oid, 'SELECT')"
"  THEN '" TRIAL_PLACE "'"
"  WHEN is_key_readable AND is_key_whole THEN stored END,"
" CASE WHEN is_key_whole THEN stored END,"
" CASE WHEN is_key_whole THEN conflict END,"
" CASE WHEN is_key_whole AND is_key_readable THEN format('ARRAY[%s]::text', key) END,"
" CASE WHEN is_key_whole THEN key_match END,"
" updated, tenant, has_tenant, pg_relation_is_updatable(pg_class.oid, true)"
" FROM facts CROSS JOIN pg_class WHERE pg_class.oid = $1";

/*
 * Returns the table's name as it is written in a statement.
 */
char *
architect_tenant_table_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/*
 * Returns the paths to the rows of the table, itself first.
 */
List *
architect_tenant_find_paths(Trial *trial)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(trial->target), ObjectIdGetDatum(trial->owner)};
	List	   *paths = NIL;

	architect_tenant_read_catalog(paths_query, lengthof(types), types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		TrialPath  *path = palloc0(sizeof(TrialPath));
		bool		isnull;

		path->relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		path->storage = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		path->kind = DatumGetChar(SPI_getbinval(tuple, desc, 3, &isnull));
		path->stranger = SPI_getvalue(tuple, desc, 4);
		path->name = architect_tenant_table_name(path->relid);
		path->storage_name = architect_tenant_table_name(path->storage);
		paths = lappend(paths, path);
	}
	SPI_freetuptable(SPI_tuptable);
	return paths;
}

/*
 * Fills in what the role may do on the path, and how statements name the row there.
 */
void
architect_tenant_read_path(Trial *trial, TrialPath *path)
{
	Oid			types[] = {OIDOID, OIDOID, OIDOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		ObjectIdGetDatum(path->relid), ObjectIdGetDatum(path->storage), ObjectIdGetDatum(trial->role),
		CStringGetTextDatum(trial->column), CStringGetTextDatum(trial->type)
	};
	const char **texts[] = {
		&path->readable, &path->columns, &path->values, &path->values_acting, &path->where, &path->stored,
		&path->conflict, &path->key, &path->key_match, &path->update, &path->update_tenant
	};
	HeapTuple	tuple;
	bool		isnull;

	architect_tenant_read_catalog(columns_query, lengthof(types), types, values);
	tuple = SPI_tuptable->vals[0];
	for (int i = 0; i < lengthof(texts); i++)
		*texts[i] = SPI_getvalue(tuple, SPI_tuptable->tupdesc, i + 1);
	path->has_tenant = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, lengthof(texts) + 1, &isnull));
	path->updatable = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, lengthof(texts) + 2, &isnull));
	SPI_freetuptable(SPI_tuptable);
}
