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

/*
 * Until the GUC nest level of the caller ends: names and operators are the server's.
 */
void
architect_pin_path(void)
{
	(void) set_config_option("search_path", ARCHITECT_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Does a task of ours with the rights of the extension's owner: the one place
 * where rights are raised.  What it calls must be ours, with a pinned search_path,
 * and so is that of its own queries: an operator of the caller's would run with
 * these rights.  What it makes belongs to no extension, even in the install script
 * of one.  Settings that it changes are as before afterwards.
 */
void
architect_as_owner(ArchitectTask task, void *argument)
{
	bool		in_script = creating_extension;
	Oid			caller;
	int			security;
	int			level = NewGUCNestLevel();

	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(extension_owner(), security | SECURITY_LOCAL_USERID_CHANGE);
	architect_pin_path();
	creating_extension = false;
	PG_TRY();
	{
		task(argument);
	}
	PG_FINALLY();
	{
		creating_extension = in_script;
	}
	PG_END_TRY();

	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(caller, security);
}

/* A query of ours, and what it gave. */
typedef struct OwnQuery
{
	const char *text;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	const char *nulls;			/* NULL: none is */
	bool		latest;			/* reads what has committed by now, and writes nothing */
	MemoryContext context;		/* of the rows */
	List	   *rows;			/* arrays of texts, NULL for NULL */
	int			number;			/* where that is what it gives */
} OwnQuery;

/*
 * Runs the query in SPI, which the caller connects to.  A background worker has no
 * snapshot of its own.
 */
static void
execute(OwnQuery *query)
{
	bool		pushes = query->latest || !ActiveSnapshotSet();

	if (pushes)
		PushActiveSnapshot(query->latest ? GetLatestSnapshot() : GetTransactionSnapshot());
	if (SPI_execute_with_args(query->text, query->nargs, query->types, query->values, query->nulls,
							  query->latest, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of: %s", query->text);
	if (pushes)
		PopActiveSnapshot();
}

static void
read_rows(void *argument)
{
	OwnQuery   *query = argument;

	SPI_connect();
	execute(query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi = MemoryContextSwitchTo(query->context);
		char	  **row = palloc0(desc->natts * sizeof(char *));

		for (int j = 0; j < desc->natts; j++)
			row[j] = SPI_getvalue(SPI_tuptable->vals[i], desc, j + 1);
		query->rows = lappend(query->rows, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
}

/*
 * Runs a query of ours as the extension's owner and returns its rows, made in the
 * caller's context: each an array of texts, NULL for NULL.
 */
List *
architect_read_as_owner(const char *query, int nargs, Oid *types, Datum *values, const char *nulls)
{
	OwnQuery	run = {query, nargs, types, values, nulls, .context = CurrentMemoryContext};

	architect_as_owner(read_rows, &run);
	return run.rows;
}

/*
 * The same for a query that writes nothing, and reads what has committed by now,
 * however old the transaction's own snapshot is.  Its functions must be STABLE.
 */
List *
architect_read_latest_as_owner(const char *query, int nargs, Oid *types, Datum *values, const char *nulls)
{
	OwnQuery	run = {query, nargs, types, values, nulls, .latest = true, .context = CurrentMemoryContext};

	architect_as_owner(read_rows, &run);
	return run.rows;
}

static void
read_number(void *argument)
{
	OwnQuery   *query = argument;
	bool		isnull;

	SPI_connect();
	execute(query);
	if (SPI_processed != 1)
		elog(ERROR, "unexpected result of: %s", query->text);
	query->number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
}

/*
 * Runs a query of ours, which gives one integer or nothing at all, as the
 * extension's owner.
 */
int
architect_run_as_owner(const char *query, int nargs, Oid *types, Datum *values)
{
	OwnQuery	run = {query, nargs, types, values};

	architect_as_owner(read_number, &run);
	return run.number;
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
