/*
 * usage.c
 *    What other servers counted of the indexes: imported, and added to the facts.
 *
 * A replica counts its scans for itself.  What is imported is kept by name in the table
 * index_usage: when a dump is restored, its rows come before the indexes.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "index/facts.h"

PG_FUNCTION_INFO_V1(architect_index_usage_import);
PG_FUNCTION_INFO_V1(architect_index_usage_forget);

/* Columns of architect.index_usage. */
enum
{
	USAGE_SERVER,
	USAGE_SCHEMA_NAME,
	USAGE_INDEX_NAME,
	USAGE_SCANS,
	USAGE_ENTRIES,
	USAGE_LAST_SCAN,
	USAGE_STATS_SINCE,
	USAGE_IMPORTED_AT,
};

/* As many servers are named in the reason. */
#define NAMED_SERVERS 5

/* An index by its name. */
typedef struct NamedIndex
{
	struct
	{
		Oid			schema;
		NameData	name;
	}			key;
	IndexDefinition *index;
} NamedIndex;

static void
set_key(NamedIndex *named, Oid schema, const char *name)
{
	MemSet(&named->key, 0, sizeof(named->key));
	named->key.schema = schema;
	namestrcpy(&named->key.name, name);
}

static HTAB *
hash_names(IndexFacts *facts)
{
	HASHCTL		control = {
		.keysize = sizeof(((NamedIndex *) NULL)->key),
		.entrysize = sizeof(NamedIndex),
		.hcxt = CurrentMemoryContext,
	};
	HTAB	   *names = hash_create("names of indexes", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ListCell   *cell;

	foreach(cell, facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		foreach(inner, table->indexes)
		{
			IndexDefinition *index = lfirst(inner);
			NamedIndex	named;

			set_key(&named, table->schema, index->name);
			((NamedIndex *) hash_search(names, &named.key, HASH_ENTER, NULL))->index = index;
		}
	}
	return names;
}

/*
 * Returns a time, 0 where it is not known: no server has counted for ever.
 */
static TimestampTz
get_time(TupleTableSlot *slot, int column)
{
	TimestampTz time = slot->tts_isnull[column] ? 0 : DatumGetTimestampTz(slot->tts_values[column]);

	return TIMESTAMP_NOT_FINITE(time) ? 0 : time;
}

/*
 * Notes the name of a server for the reason, which names a few: whoever owns an index may
 * have imported its counts under any number of them.
 */
static void
note_server(IndexUsage *usage, const char *server)
{
	ListCell   *cell;

	foreach(cell, usage->servers)
	{
		if (strcmp(lfirst(cell), server) == 0)
			return;
	}
	if (list_length(usage->servers) < NAMED_SERVERS)
		usage->servers = lappend(usage->servers, pstrdup(server));
	else
		usage->has_more_servers = true;
}

/*
 * Adds what a server counted to the index, and to those that it is a partition of.
 */
static void
add_usage(IndexDefinition *index, TupleTableSlot *slot)
{
	char	   *server = TextDatumGetCString(slot->tts_values[USAGE_SERVER]);
	TimestampTz imported_at = get_time(slot, USAGE_IMPORTED_AT);
	TimestampTz since = get_time(slot, USAGE_STATS_SINCE);
	double		days = since == 0 ? 0 : (imported_at - since) / (double) USECS_PER_DAY;

	for (; index != NULL; index = index->parent)
	{
		IndexUsage *usage = index->elsewhere;

		if (usage == NULL)
		{
			usage = index->elsewhere = palloc0(sizeof(IndexUsage));
			usage->days = days;
			usage->imported_at = imported_at;
		}
		note_server(usage, server);
		usage->scans += DatumGetInt64(slot->tts_values[USAGE_SCANS]);
		usage->last_scan = Max(usage->last_scan, get_time(slot, USAGE_LAST_SCAN));
		usage->days = Min(usage->days, days);
		usage->imported_at = Min(usage->imported_at, imported_at);
	}
	pfree(server);
}

static void
read_row(HTAB *names, TupleTableSlot *slot)
{
	Oid			schema = get_namespace_oid(NameStr(*DatumGetName(slot->tts_values[USAGE_SCHEMA_NAME])), true);
	NamedIndex	named;
	NamedIndex *found;

	set_key(&named, schema, NameStr(*DatumGetName(slot->tts_values[USAGE_INDEX_NAME])));
	found = hash_search(names, &named.key, HASH_FIND, NULL);
	if (found != NULL)
		add_usage(found->index, slot);
}

/*
 * Adds what was imported to the facts.
 */
void
architect_index_read_usage(IndexFacts *facts)
{
	Oid			oid = architect_relation("index_usage", true);
	HTAB	   *names = NULL;
	Relation	rel;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!OidIsValid(oid))
		return;
	rel = table_open(oid, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (names == NULL)
			names = hash_names(facts);
		slot_getallattrs(slot);
		read_row(names, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	if (names != NULL)
		hash_destroy(names);
}

static void
check_server(FunctionCallInfo fcinfo)
{
	int			length = PG_ARGISNULL(0) ? 0 : VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0));

	if (length < 1 || length >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("server must have a name of 1 to %d bytes", NAMEDATALEN - 1),
				 errhint("Name it as you like, as in 'replica 1'.")));
}

static Datum
note_usage(FunctionCallInfo fcinfo, NullableDatum usage)
{
	Oid			types[] = {OIDOID, TEXTOID, JSONBOID};
	Datum		values[] = {ObjectIdGetDatum(GetUserId()), PG_GETARG_DATUM(0), usage.value};
	char		nulls[] = {' ', ' ', usage.isnull ? 'n' : ' ', '\0'};
	List	   *rows = architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._index_note_usage($1, $2, $3)",
											   lengthof(types), types, values, nulls);
	char	  **row = linitial(rows);

	return DirectFunctionCall1(int8in, CStringGetDatum(row[0]));
}

/*
 * architect.index_usage_import(server, usage) → number of indexes
 */
Datum
architect_index_usage_import(PG_FUNCTION_ARGS)
{
	check_server(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("usage must not be NULL"),
				 errhint("Pass what " ARCHITECT_SCHEMA ".index_usage_export() gives on the other server.")));
	return note_usage(fcinfo, fcinfo->args[1]);
}

/*
 * architect.index_usage_forget(server) → number of indexes
 */
Datum
architect_index_usage_forget(PG_FUNCTION_ARGS)
{
	NullableDatum nothing = {.isnull = true};

	check_server(fcinfo);
	return note_usage(fcinfo, nothing);
}
