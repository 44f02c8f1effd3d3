/*
 * seal.c
 *    architect.audit_seal and audit_erase: the calls, and what makes a seal.
 *
 * What a seal takes is settled by snapshots: the rows of transactions that are
 * visible now and were not in the snapshot of the seal before.  So a transaction
 * that is in progress is left to the next seal, and nothing that writes the log
 * has to wait.  Transaction numbers mean nothing in a restored copy: the first
 * seal there takes the whole log.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/xid8.h"

#include "audit/audit.h"
#include "audit/seal.h"
#include "compat.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_seal);
PG_FUNCTION_INFO_V1(architect_audit_seal_write);
PG_FUNCTION_INFO_V1(architect_audit_seal_leaf);

/* Log rows that are read at a time. */
#define BATCH_ROWS 500

#define SELECT_ROWS \
	"SELECT id, changed_at, transaction_id, table_id, operation, table_schema, table_name, record_id," \
	" changed_by, session_role, old_values, new_values, context, new_record_id" \
	" FROM " ARCHITECT_SCHEMA ".audit_log WHERE "

/* The records of a seal on their way into chunks. */
typedef struct ChunkWriter
{
	int64		seal;
	int32		chunk;
	bytea	   *data;			/* the chunk in the making */
	int			nrecords;
	SealRecord	first;
	SealRecord	last;
	SPIPlanPtr	insert;
} ChunkWriter;

/* Random bytes that are not used yet. */
typedef struct SaltPool
{
	int			used;
	uint8		salts[BATCH_ROWS][SEAL_SALT];
} SaltPool;

/*
 * architect.audit_seal()
 */
Datum
architect_audit_seal(PG_FUNCTION_ARGS)
{
	int			seal = architect_run_as_owner("SELECT coalesce(" ARCHITECT_SCHEMA "._audit_seal(), 0)::integer",
											  0, NULL, NULL);

	if (seal == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(seal);
}

/*
 * Starts to read the rows that this seal may be about.  Where it is the first of
 * its origin these are all up to an id, whatever their transaction's number, and
 * those of its snapshot.  Uses the snapshot of the calling query; needs SPI.
 */
void
architect_seal_open_rows(SealRows *rows, const SealSpan *span, int64 last_id, bool in_order)
{
	Oid			types[] = {span->snapshot_type, span->snapshot_type, INT8OID};
	Datum		values[] = {span->snapshot, span->previous, Int64GetDatum(last_id)};
	const char *nulls = span->previous == 0 ? " n " : "   ";
	const char *query = span->previous == 0 ?
		SELECT_ROWS "(id <= $3 OR pg_visible_in_snapshot(transaction_id, $1))" :
		SELECT_ROWS "transaction_id >= pg_snapshot_xmin($2) AND transaction_id < pg_snapshot_xmax($1)"
		" AND pg_visible_in_snapshot(transaction_id, $1)"
		" AND NOT pg_visible_in_snapshot(transaction_id, $2)";

	if (in_order)
		query = psprintf("%s ORDER BY transaction_id, id", query);
	memset(rows, 0, sizeof(*rows));
	rows->portal = SPI_cursor_open_with_args(NULL, query, 3, types, values, nulls, true, 0);
	rows->context = AllocSetContextCreate(CurrentMemoryContext, "architect sealed rows",
										  ALLOCSET_DEFAULT_SIZES);
}

/*
 * Reads the next row into its place; false at the end.
 */
bool
architect_seal_next_row(SealRows *rows)
{
	HeapTuple	tuple;

	if (rows->batch == NULL || rows->next == rows->batch->numvals)
	{
		if (rows->batch != NULL)
			SPI_freetuptable(rows->batch);
		MemoryContextReset(rows->context);
		SPI_cursor_fetch(rows->portal, true, BATCH_ROWS);
		rows->batch = SPI_tuptable;
		rows->next = 0;
		if (SPI_processed == 0)
			return false;
	}

	CHECK_FOR_INTERRUPTS();
	tuple = rows->batch->vals[rows->next++];
	heap_deform_tuple(tuple, rows->batch->tupdesc, rows->values, rows->nulls);
	rows->id = DatumGetInt64(rows->values[LOG_ID]);
	rows->transaction = DatumGetUInt64(rows->values[LOG_TRANSACTION_ID]);
	return true;
}

void
architect_seal_close_rows(SealRows *rows)
{
	SPI_freetuptable(rows->batch);
	SPI_cursor_close(rows->portal);
	MemoryContextDelete(rows->context);
}

static ChunkWriter *
make_writer(int64 seal)
{
	Oid			types[] = {INT8OID, INT4OID, XID8OID, INT8OID, XID8OID, INT8OID, BYTEAOID};
	ChunkWriter *writer = palloc0(sizeof(ChunkWriter));

	writer->seal = seal;
	writer->data = palloc(VARHDRSZ + SEAL_CHUNK_RECORDS * SEAL_RECORD_SIZE);
	writer->insert = SPI_prepare("INSERT INTO " ARCHITECT_SCHEMA ".audit_seal_rows "
								 "(seal, chunk, first_transaction, first_id, last_transaction, last_id, data) "
								 "VALUES ($1, $2, $3, $4, $5, $6, $7)", lengthof(types), types);
	if (writer->insert == NULL)
		elog(ERROR, "could not prepare to store records of a seal");
	return writer;
}

/*
 * Stores the chunk in the making, if it has anything.
 */
static void
store_chunk(ChunkWriter *writer)
{
	Datum		values[7];

	if (writer->nrecords == 0)
		return;

	SET_VARSIZE(writer->data, VARHDRSZ + writer->nrecords * SEAL_RECORD_SIZE);
	values[0] = Int64GetDatum(writer->seal);
	values[1] = Int32GetDatum(writer->chunk++);
	values[2] = UInt64GetDatum(writer->first.transaction);
	values[3] = Int64GetDatum(writer->first.id);
	values[4] = UInt64GetDatum(writer->last.transaction);
	values[5] = Int64GetDatum(writer->last.id);
	values[6] = PointerGetDatum(writer->data);
	if (SPI_execute_plan(writer->insert, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store records of a seal");
	writer->nrecords = 0;
}

static void
write_record(ChunkWriter *writer, const SealRecord *record)
{
	if (writer->nrecords == SEAL_CHUNK_RECORDS)
		store_chunk(writer);
	if (writer->nrecords == 0)
		writer->first = *record;
	writer->last = *record;
	architect_seal_pack(record, VARDATA(writer->data) + writer->nrecords++ * SEAL_RECORD_SIZE);
}

static void
take_salt(SaltPool *pool, uint8 *salt)
{
	if (pool->used == 0 && !pg_strong_random(pool->salts, sizeof(pool->salts)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	memcpy(salt, pool->salts[pool->used], SEAL_SALT);
	pool->used = (pool->used + 1) % BATCH_ROWS;
}

/*
 * True when a row that can be read is not for this seal.
 */
static bool
is_for_another(const SealSpan *span, SealRows *rows)
{
	/* Ours, and not committed: for the next. */
	if (span->previous == 0)
		return rows->transaction == U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	return rows->id <= span->floor &&
		architect_seal_has_record(span->first_seal, rows->transaction, rows->id);
}

/*
 * Reads the rows of a seal and puts their records into the sort; returns the
 * greatest id among them.  Rows are far larger than their records, so it is the
 * records that are brought into order.
 */
static int64
collect_records(const SealSpan *span, SealHasher *hasher, Tuplesortstate *sort)
{
	SaltPool   *pool = palloc0(sizeof(SaltPool));
	bytea	   *packed = palloc(VARHDRSZ + SEAL_RECORD_SIZE);
	SealRecord	record = {0};
	SealRows	rows;
	int64		last_id = 0;

	SET_VARSIZE(packed, VARHDRSZ + SEAL_RECORD_SIZE);
	architect_seal_open_rows(&rows, span, PG_INT64_MAX, false);
	while (architect_seal_next_row(&rows))
	{
		MemoryContext caller;

		if (is_for_another(span, &rows))
			continue;
		record.transaction = rows.transaction;
		record.id = rows.id;
		last_id = Max(last_id, rows.id);
		take_salt(pool, record.salt);

		caller = MemoryContextSwitchTo(rows.context);
		architect_seal_leaf(hasher, record.salt, rows.values, rows.nulls, record.leaf);
		MemoryContextSwitchTo(caller);
		architect_seal_pack(&record, VARDATA(packed));
		tuplesort_putdatum(sort, PointerGetDatum(packed), false);
	}
	architect_seal_close_rows(&rows);
	return last_id;
}

/*
 * Writes the records of a seal, and adds its rows to the forest; returns the
 * greatest id among them.
 */
static int64
write_records(const SealSpan *span, SealForest *forest)
{
	/* Packed records compare as bytes in the order of transaction and id. */
	Tuplesortstate *sort = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
												 maintenance_work_mem, NULL, TUPLESORT_NONE);
	ChunkWriter *writer = make_writer(span->seal);
	int64		last_id = collect_records(span, forest->hasher, sort);
	Datum		packed;

	tuplesort_performsort(sort);
	while (architect_next_sorted(sort, &packed))
	{
		SealRecord	record;

		CHECK_FOR_INTERRUPTS();
		architect_seal_unpack(VARDATA_ANY(DatumGetPointer(packed)), &record);
		write_record(writer, &record);
		architect_seal_add_leaf(forest, record.transaction, record.leaf);
		pfree(DatumGetPointer(packed));
	}
	store_chunk(writer);
	tuplesort_end(sort);
	return last_id;
}

/*
 * architect._audit_seal_write(seal, snapshot, previous, first_seal, floor):
 * writes the records of a seal; gives what its row in audit_seals says.
 */
Datum
architect_audit_seal_write(PG_FUNCTION_ARGS)
{
	SealSpan	span = {
		.seal = PG_GETARG_INT64(0),
		.snapshot_type = get_fn_expr_argtype(fcinfo->flinfo, 1),
		.snapshot = PG_GETARG_DATUM(1),
		.previous = PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2),
		.first_seal = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3),
		.floor = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4)
	};
	SealHasher	hasher;
	SealForest	forest;
	bytea	   *root = palloc(VARHDRSZ + SEAL_HASH);
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type");
	SET_VARSIZE(root, VARHDRSZ + SEAL_HASH);
	architect_seal_make_hasher(&hasher);
	architect_seal_start_forest(&forest, &hasher);

	SPI_connect();
	values[0] = Int64GetDatum(write_records(&span, &forest));
	SPI_finish();

	values[1] = Int64GetDatum(forest.rows);
	architect_seal_end_forest(&forest, (uint8 *) VARDATA(root));
	values[2] = Int64GetDatum(forest.outer.count);
	values[3] = PointerGetDatum(root);
	architect_seal_free_hasher(&hasher);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * architect._audit_seal_leaf(salt, entry): the leaf of one row of the log.
 */
Datum
architect_audit_seal_leaf(PG_FUNCTION_ARGS)
{
	bytea	   *salt = PG_GETARG_BYTEA_PP(0);
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(1);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {
		.t_len = HeapTupleHeaderGetDatumLength(header),
		.t_data = header
	};
	Datum		values[LOG_COLUMNS];
	bool		nulls[LOG_COLUMNS];
	bytea	   *leaf = palloc(VARHDRSZ + SEAL_HASH);
	SealHasher	hasher;

	if (desc->natts != LOG_COLUMNS || VARSIZE_ANY_EXHDR(salt) != SEAL_SALT)
		elog(ERROR, "not a row of the audit log with its salt");
	SET_VARSIZE(leaf, VARHDRSZ + SEAL_HASH);
	heap_deform_tuple(&tuple, desc, values, nulls);
	architect_seal_make_hasher(&hasher);
	architect_seal_leaf(&hasher, (uint8 *) VARDATA_ANY(salt), values, nulls, (uint8 *) VARDATA(leaf));
	architect_seal_free_hasher(&hasher);
	ReleaseTupleDesc(desc);
	PG_RETURN_BYTEA_P(leaf);
}
