/*
 * reader.c
 *    Rows of the log by record, straight from the indexes, or by transaction.
 *
 * A planned query over every partition of the log would take longer to plan
 * than these probes for a record take to run.  Partitions are read under the
 * snapshot of the calling query; one whose index is missing is read from end to
 * end.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "audit/record.h"
#include "core/core.h"

/* Rows of a transaction that are fetched at a time. */
#define BATCH_ROWS	1000

static const char *const index_names[AUDIT_LOOKUPS] = {
	[AUDIT_BY_RECORD] = "audit_log_record_idx",
	[AUDIT_BY_NEW_RECORD] = "audit_log_new_record_idx",
};

typedef struct ReaderPart
{
	Relation	relation;
	Oid			indexes[AUDIT_LOOKUPS]; /* InvalidOid where there is none */
} ReaderPart;

struct AuditReader
{
	int			nparts;
	ReaderPart *parts;
};

/* What to look for. */
typedef struct Search
{
	AuditLookup by;
	int32		table_id;
	const char *record_id;		/* NULL for events of the whole table */
} Search;

/*
 * Finds the indexes of this partition that belong to those of the log.
 */
static void
find_indexes(ReaderPart *part, List *const log_indexes[AUDIT_LOOKUPS])
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(part->relation))
	{
		for (int by = 0; by < AUDIT_LOOKUPS; by++)
		{
			if (list_member_oid(log_indexes[by], lfirst_oid(cell)))
				part->indexes[by] = lfirst_oid(cell);
		}
	}
}

/*
 * Opens the log with what this session has not stored yet; raises 42P01 where
 * there is none.
 */
AuditReader *
architect_audit_open_log(void)
{
	AuditReader *reader = palloc0(sizeof(AuditReader));
	Oid			log = architect_relation("audit_log", false);
	List	   *log_indexes[AUDIT_LOOKUPS] = {NIL};
	List	   *parts;
	ListCell   *cell;

	architect_audit_store_pending();

	LockRelationOid(log, AccessShareLock);
	parts = find_inheritance_children(log, AccessShareLock);
	for (int by = 0; by < AUDIT_LOOKUPS; by++)
	{
		Oid			index = architect_relation(index_names[by], true);

		if (OidIsValid(index))
			log_indexes[by] = find_inheritance_children(index, NoLock);
	}

	reader->parts = palloc0(list_length(parts) * sizeof(ReaderPart));
	foreach(cell, parts)
	{
		ReaderPart *part = &reader->parts[reader->nparts++];

		part->relation = table_open(lfirst_oid(cell), NoLock);
		find_indexes(part, log_indexes);
	}
	return reader;
}

/*
 * Closes the log; its locks stay, as those of a query would.
 */
void
architect_audit_close_log(AuditReader *reader)
{
	for (int i = 0; i < reader->nparts; i++)
		table_close(reader->parts[i].relation, NoLock);
}

static char *
text_or_null(AuditLogRow *row, int column)
{
	return row->nulls[column] ? NULL : TextDatumGetCString(row->values[column]);
}

/*
 * Returns the row of a tuple, which must live as long.
 */
static AuditLogRow *
make_row(HeapTuple tuple, TupleDesc desc)
{
	AuditLogRow *row = palloc0(sizeof(AuditLogRow));

	if (desc->natts != LOG_COLUMNS)
		elog(ERROR, "a partition of the audit log has %d columns", desc->natts);
	heap_deform_tuple(tuple, desc, row->values, row->nulls);

	row->id = DatumGetInt64(row->values[LOG_ID]);
	row->table_id = DatumGetInt32(row->values[LOG_TABLE_ID]);
	row->transaction = DatumGetFullTransactionId(row->values[LOG_TRANSACTION_ID]);
	row->operation = TextDatumGetCString(row->values[LOG_OPERATION])[0];
	row->record_id = text_or_null(row, LOG_RECORD_ID);
	row->new_record_id = text_or_null(row, LOG_NEW_RECORD_ID);
	row->old_values = row->nulls[LOG_OLD_VALUES] ? NULL : DatumGetJsonbP(row->values[LOG_OLD_VALUES]);
	row->new_values = row->nulls[LOG_NEW_VALUES] ? NULL : DatumGetJsonbP(row->values[LOG_NEW_VALUES]);
	return row;
}

/*
 * Returns the row before an UPDATE, which the log has where the key is
 * deferrable; else NULL.
 */
Jsonb *
architect_audit_updated_row(const AuditLogRow *row)
{
	JsonbValue	value;

	if (row->operation != 'U' || row->nulls[LOG_CONTEXT] ||
		getKeyJsonValueFromContainer(&DatumGetJsonbP(row->values[LOG_CONTEXT])->root, AUDIT_CONTEXT_ROW,
									 strlen(AUDIT_CONTEXT_ROW), &value) == NULL ||
		value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return NULL;
	return JsonbValueToJsonb(&value);
}

static bool
is_same_text(const char *left, const char *right)
{
	return left == NULL || right == NULL ? left == right : strcmp(left, right) == 0;
}

/*
 * True when the row is one that is looked for, which only a scan without index
 * leaves open.
 */
static bool
is_found(const Search *search, const AuditLogRow *row)
{
	return row->table_id == search->table_id &&
		is_same_text(search->by == AUDIT_BY_RECORD ? row->record_id : row->new_record_id, search->record_id);
}

/*
 * Fills in the keys of an index scan and returns how many there are.
 */
static int
make_keys(const Search *search, ScanKeyData *keys)
{
	AttrNumber	record = (search->by == AUDIT_BY_RECORD ? LOG_RECORD_ID : LOG_NEW_RECORD_ID) + 1;

	if (search->record_id == NULL)
		ScanKeyEntryInitialize(&keys[0], SK_ISNULL | SK_SEARCHNULL, record, InvalidStrategy,
							   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	else
		ScanKeyInit(&keys[0], record, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(search->record_id));
	ScanKeyInit(&keys[1], LOG_TABLE_ID + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(search->table_id));
	return 2;
}

/*
 * Appends what one partition has.
 */
static List *
search_part(List *rows, const ReaderPart *part, const Search *search)
{
	Oid			index = part->indexes[search->by];
	ScanKeyData keys[2];
	int			nkeys = OidIsValid(index) ? make_keys(search, keys) : 0;
	SysScanDesc scan = systable_beginscan(part->relation, index, OidIsValid(index),
										  GetActiveSnapshot(), nkeys, keys);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "architect audit search",
												  ALLOCSET_SMALL_SIZES);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(part->relation);
		MemoryContext caller = MemoryContextSwitchTo(scratch);
		bool		found;

		CHECK_FOR_INTERRUPTS();
		found = is_found(search, make_row(tuple, desc));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		if (found)
			rows = lappend(rows, make_row(heap_copytuple(tuple), desc));
	}
	systable_endscan(scan);
	MemoryContextDelete(scratch);
	return rows;
}

/*
 * Orders rows of the log by id, for list_sort().
 */
int
architect_audit_compare_rows(const ListCell *left, const ListCell *right)
{
	int64		a = ((AuditLogRow *) lfirst(left))->id;
	int64		b = ((AuditLogRow *) lfirst(right))->id;

	return a < b ? -1 : a > b;
}

/*
 * Returns the rows (AuditLogRow *) of a record, or those of the whole table for
 * a record_id of NULL, in the order of their ids.
 */
List *
architect_audit_record_rows(AuditReader *reader, AuditLookup by, int32 table_id, const char *record_id)
{
	Search		search = {.by = by, .table_id = table_id, .record_id = record_id};
	List	   *rows = NIL;

	for (int i = 0; i < reader->nparts; i++)
		rows = search_part(rows, &reader->parts[i], &search);
	list_sort(rows, architect_audit_compare_rows);
	return rows;
}

/* What a transaction has in the log. */
typedef struct TransactionRows
{
	FullTransactionId transaction;
	MemoryContext context;		/* of the rows */
	List	   *rows;			/* of AuditLogRow * */
} TransactionRows;

/*
 * Reads the rows of a transaction, in batches and in no order.
 */
static void
read_transaction(void *argument)
{
	TransactionRows *read = argument;
	Oid			types[] = {XID8OID};
	Datum		values[] = {FullTransactionIdGetDatum(read->transaction)};
	Portal		portal;

	/* A partition that nobody analyzed would be read from end to end. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, "SELECT * FROM " ARCHITECT_SCHEMA ".audit_log WHERE transaction_id = $1",
									   1, types, values, NULL, true, 0);
	for (;;)
	{
		MemoryContext spi;

		SPI_cursor_fetch(portal, true, BATCH_ROWS);
		if (SPI_processed == 0)
			break;

		spi = MemoryContextSwitchTo(read->context);
		for (uint64 i = 0; i < SPI_processed; i++)
			read->rows = lappend(read->rows, make_row(heap_copytuple(SPI_tuptable->vals[i]), SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(spi);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/*
 * Returns the rows of a transaction, of whatever tables, in the order of their
 * ids.  What the caller may know of them is for the caller to check.
 */
List *
architect_audit_transaction_rows(FullTransactionId transaction)
{
	TransactionRows read = {.transaction = transaction, .context = CurrentMemoryContext};

	(void) architect_relation("audit_log", false);
	architect_as_owner(read_transaction, &read);
	list_sort(read.rows, architect_audit_compare_rows);
	return read.rows;
}

/*
 * Returns the table with this number, or InvalidOid where it was dropped.
 */
Oid
architect_audit_table_of(int32 table_id)
{
	Relation	registry = table_open(architect_relation("audit_tables", false), AccessShareLock);
	AttrNumber	relation = get_attnum(RelationGetRelid(registry), "relation");
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(registry), "table_id"), BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(table_id));
	scan = systable_beginscan(registry, architect_relation("audit_tables_pkey", false), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		result = DatumGetObjectId(heap_getattr(tuple, relation, RelationGetDescr(registry), &isnull));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return result;
}
