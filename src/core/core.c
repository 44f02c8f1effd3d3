/*
 * core.c
 *    The extension as the server knows it: its schema, owner and version.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "core/core.h"

#define ARCHITECT_EXTENSION "pg_architect"

PG_FUNCTION_INFO_V1(architect_version);

/*
 * Gives the owner and the version (allocated here) of the installed SQL; false
 * when the extension is not created in this database.
 */
static bool
read_extension(Oid *owner, char **version)
{
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(ARCHITECT_EXTENSION));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);

	if (found)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(catalog), &isnull);

		*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		*version = TextDatumGetCString(value);
	}

	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * Returns the schema of the extension, or InvalidOid where it is not created.
 */
Oid
architect_schema(void)
{
	return get_namespace_oid(ARCHITECT_SCHEMA, true);
}

/*
 * Returns the relation of this name in our schema; raises 42P01 when there is
 * none, unless missing_ok.
 */
Oid
architect_relation(const char *name, bool missing_ok)
{
	Oid			schema = architect_schema();
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", ARCHITECT_SCHEMA, name),
				 errdetail("It belongs to the extension \"%s\".", ARCHITECT_EXTENSION),
				 errhint("Create the extension again, or restore the relation from a backup.")));
	return relid;
}

/*
 * Returns the role that owns the extension; raises 55000 where the extension is
 * not created.
 */
static Oid
extension_owner(void)
{
	Oid			owner;
	char	   *version;

	if (!read_extension(&owner, &version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not created in this database", ARCHITECT_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", ARCHITECT_EXTENSION)));
	return owner;
}

static int
run_query(const char *query, int nargs, Oid *types, Datum *values)
{
	bool		isnull;
	int			result;

	SPI_connect();
	if (SPI_execute_with_args(query, nargs, types, values, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "unexpected result of: %s", query);
	result = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return result;
}

static List *
read_rows(const char *query, int nargs, Oid *types, Datum *values, const char *nulls, bool read_only)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *rows = NIL;

	SPI_connect();
	if (read_only)
		PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args(query, nargs, types, values, nulls, read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query);
	if (read_only)
		PopActiveSnapshot();
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext ours = MemoryContextSwitchTo(caller);
		char	  **row = palloc0(desc->natts * sizeof(char *));

		for (int j = 0; j < desc->natts; j++)
			row[j] = SPI_getvalue(SPI_tuptable->vals[i], desc, j + 1);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(ours);
	}
	SPI_finish();
	return rows;
}

/*
 * Runs a query of ours with the rights of the extension's owner: the one place
 * where rights are raised.  What it calls must be ours, with a pinned
 * search_path, and so is that of the query itself: an operator of the caller's
 * would run with these rights.  What it makes belongs to no extension, even in
 * the install script of one.  Gives its integer or, where they are asked for, its
 * rows.
 */
static int
run_raised(const char *query, int nargs, Oid *types, Datum *values, const char *nulls,
		   bool read_only, List **rows)
{
	bool		in_script = creating_extension;
	Oid			caller;
	int			security;
	int			level = NewGUCNestLevel();
	int			result = 0;

	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(extension_owner(), security | SECURITY_LOCAL_USERID_CHANGE);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	creating_extension = false;
	PG_TRY();
	{
		if (rows != NULL)
			*rows = read_rows(query, nargs, types, values, nulls, read_only);
		else
			result = run_query(query, nargs, types, values);
	}
	PG_FINALLY();
	{
		creating_extension = in_script;
	}
	PG_END_TRY();

	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(caller, security);
	return result;
}

/*
 * Runs a query of ours, which gives one integer, as the extension's owner.
 */
int
architect_run_as_owner(const char *query, int nargs, Oid *types, Datum *values)
{
	return run_raised(query, nargs, types, values, NULL, false, NULL);
}

/*
 * Runs a query of ours as the extension's owner and returns its rows, made in the
 * caller's context: each an array of texts, NULL for NULL.
 */
List *
architect_read_as_owner(const char *query, int nargs, Oid *types, Datum *values, const char *nulls)
{
	List	   *rows = NIL;

	run_raised(query, nargs, types, values, nulls, false, &rows);
	return rows;
}

/*
 * The same for a query that writes nothing, and reads what has committed by now,
 * however old the transaction's own snapshot is.  Its functions must be STABLE.
 */
List *
architect_read_latest_as_owner(const char *query, int nargs, Oid *types, Datum *values, const char *nulls)
{
	List	   *rows = NIL;

	run_raised(query, nargs, types, values, nulls, true, &rows);
	return rows;
}

/*
 * True when the first version is the newer: compares number by number.
 */
static bool
is_newer(const char *version, const char *than)
{
	int			left[3] = {0};
	int			right[3] = {0};

	sscanf(version, "%d.%d.%d", &left[0], &left[1], &left[2]);
	sscanf(than, "%d.%d.%d", &right[0], &right[1], &right[2]);
	for (int i = 0; i < 3; i++)
	{
		if (left[i] != right[i])
			return left[i] > right[i];
	}
	return false;
}

/*
 * Says once a session when the library and the installed SQL differ.
 */
void
architect_check_version(void)
{
	static bool checked = false;
	Oid			owner;
	char	   *version;

	if (checked || !read_extension(&owner, &version))
		return;
	checked = true;

	if (strcmp(version, ARCHITECT_VERSION) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is version %s, but its library is version %s",
						ARCHITECT_EXTENSION, version, ARCHITECT_VERSION),
				 is_newer(version, ARCHITECT_VERSION) ?
				 errhint("Reconnect, so that the new library is loaded; restart the server if it is preloaded.") :
				 errhint("Run ALTER EXTENSION %s UPDATE TO '%s'.",
						 ARCHITECT_EXTENSION, ARCHITECT_VERSION)));
}

/*
 * architect.version(): the version of the loaded library.
 */
Datum
architect_version(PG_FUNCTION_ARGS)
{
	architect_check_version();
	PG_RETURN_TEXT_P(cstring_to_text(ARCHITECT_VERSION));
}
