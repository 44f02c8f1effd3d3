/*
 * seal_check.c
 *    architect.audit_verify_seals: compares the log with its seals.
 *
 * For each seal, log rows and records are read side by side in the order of
 * transaction and id.  Problems of rows are found by their leaves, problems of
 * the records by the root of the seal.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "audit/seal.h"
#include "compat.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_verify_seals);
PG_FUNCTION_INFO_V1(architect_audit_seal_problem);
PG_FUNCTION_INFO_V1(architect_audit_seal_check);

/* Where the running call of architect.audit_verify_seals collects what it gives. */
static ReturnSetInfo *collected = NULL;

/* The records of a seal, chunk by chunk. */
typedef struct SealRecords
{
	Portal		portal;
	SPITupleTable *batch;
	bytea	   *chunk;
	int			next;			/* in the chunk */
	int			count;
	bool		damaged;		/* a chunk is not made of records */
	SealRecord	record;
} SealRecords;

/* One check of one seal. */
typedef struct SealCheck
{
	SealSpan	span;
	int64		last_id;
	int64		newest_id;		/* rows above are not missed here */
	int64		removed;		/* records flagged so */
	ArrayType  *unsound;		/* erasures that cannot be trusted */
	SealHasher	hasher;
	SealForest	forest;
	SealRows	rows;
	SealRecords records;
	ReturnSetInfo *result;
} SealCheck;

/*
 * architect.audit_verify_seals(digest): what the private function finds with
 * the rights of the extension's owner.
 */
Datum
architect_audit_verify_seals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *outer = collected;
	Oid			types[] = {TEXTOID};
	Datum		values[1];

	values[0] = PG_ARGISNULL(0) ? CStringGetTextDatum("") : PG_GETARG_DATUM(0);
	InitMaterializedSRF(fcinfo, 0);
	collected = (ReturnSetInfo *) fcinfo->resultinfo;
	PG_TRY();
	{
		architect_run_as_owner("SELECT count(" ARCHITECT_SCHEMA "._audit_seal_problem(found.seal, found.transaction_id,"
							   " found.log_id, found.problem))::integer"
							   " FROM " ARCHITECT_SCHEMA "._audit_verify_seals(nullif($1, '')) AS found",
							   1, types, values);
	}
	PG_FINALLY();
	{
		collected = outer;
	}
	PG_END_TRY();
	return (Datum) 0;
}

/*
 * architect._audit_seal_problem(seal, transaction_id, log_id, problem): adds a
 * row to the result of the running audit_verify_seals.
 */
Datum
architect_audit_seal_problem(PG_FUNCTION_ARGS)
{
	Datum		values[4];
	bool		nulls[4];

	if (collected == NULL)
		elog(ERROR, "audit_verify_seals is not running");
	for (int i = 0; i < lengthof(values); i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	tuplestore_putvalues(collected->setResult, collected->setDesc, values, nulls);
	PG_RETURN_BOOL(true);
}

/*
 * Adds a problem of a row, or of the seal as a whole for an id of 0.
 */
static void
add_problem(SealCheck *check, uint64 transaction, int64 id, const char *problem)
{
	Datum		values[3] = {UInt64GetDatum(transaction), Int64GetDatum(id)};
	bool		nulls[3] = {id == 0, id == 0, false};

	values[2] = CStringGetTextDatum(problem);
	tuplestore_putvalues(check->result->setResult, check->result->setDesc, values, nulls);
	pfree(DatumGetPointer(values[2]));
}

static void
open_records(SealRecords *records, int64 seal)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(seal)};

	memset(records, 0, sizeof(*records));
	records->portal = SPI_cursor_open_with_args(NULL, "SELECT data FROM " ARCHITECT_SCHEMA ".audit_seal_rows "
												"WHERE seal = $1 ORDER BY chunk", 1, types, values, NULL, true, 0);
}

/*
 * Reads the next chunk; false at the end.
 */
static bool
next_chunk(SealRecords *records)
{
	bool		isnull;
	Datum		value;

	if (records->batch != NULL)
	{
		if (records->chunk != NULL)
			pfree(records->chunk);
		SPI_freetuptable(records->batch);
		records->chunk = NULL;
	}
	SPI_cursor_fetch(records->portal, true, 1);
	records->batch = SPI_tuptable;
	records->next = 0;
	records->count = 0;
	if (SPI_processed == 0)
		return false;

	value = SPI_getbinval(records->batch->vals[0], records->batch->tupdesc, 1, &isnull);
	if (isnull)
	{
		records->damaged = true;
		return true;
	}
	records->chunk = DatumGetByteaPCopy(value);
	records->count = (VARSIZE(records->chunk) - VARHDRSZ) / SEAL_RECORD_SIZE;
	if ((VARSIZE(records->chunk) - VARHDRSZ) % SEAL_RECORD_SIZE != 0)
		records->damaged = true;
	return true;
}

static bool
next_record(SealRecords *records)
{
	while (records->next == records->count)
	{
		if (!next_chunk(records))
			return false;
	}
	architect_seal_unpack(VARDATA(records->chunk) + records->next++ * SEAL_RECORD_SIZE, &records->record);
	return true;
}

static void
close_records(SealRecords *records)
{
	SPI_freetuptable(records->batch);
	SPI_cursor_close(records->portal);
}

static bool
row_fits(SealCheck *check, const uint8 *salt, const uint8 *leaf)
{
	uint8		found[SEAL_HASH];
	MemoryContext caller = MemoryContextSwitchTo(check->rows.context);

	architect_seal_leaf(&check->hasher, salt, check->rows.values, check->rows.nulls, found);
	MemoryContextSwitchTo(caller);
	return memcmp(found, leaf, SEAL_HASH) == 0;
}

/*
 * Returns what is wrong with a row that was erased in part after it was sealed,
 * or NULL.  Its leaf is that of the last erasure.
 */
static const char *
check_erased_row(SealCheck *check)
{
	Oid			types[] = {INT8OID, INT8ARRAYOID};
	Datum		values[] = {Int64GetDatum(check->rows.id), PointerGetDatum(check->unsound)};
	static const char *const query = "SELECT salt, leaf, erase_id = ANY ($2) OR length(leaf) <> 32 FROM "
		ARCHITECT_SCHEMA ".audit_seal_erasures WHERE log_id = $1 ORDER BY erase_id DESC LIMIT 1";
	const char *problem = "erased without a record";

	if (check->records.record.flags & SEAL_SPOILED)
		return "changed";
	if (SPI_execute_with_args(query, 2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read erasures");

	if (SPI_processed == 1)
	{
		HeapTuple	erasure = SPI_tuptable->vals[0];
		bool		no_salt;
		bool		isnull;
		Datum		salt = SPI_getbinval(erasure, SPI_tuptable->tupdesc, 1, &no_salt);
		Datum		leaf = SPI_getbinval(erasure, SPI_tuptable->tupdesc, 2, &isnull);
		bool		unsound = DatumGetBool(SPI_getbinval(erasure, SPI_tuptable->tupdesc, 3, &isnull));

		if (!unsound && !no_salt && VARSIZE_ANY_EXHDR(DatumGetPointer(salt)) == SEAL_SALT &&
			row_fits(check, (uint8 *) VARDATA_ANY(DatumGetPointer(salt)),
					 (uint8 *) VARDATA_ANY(DatumGetPointer(leaf))))
			problem = NULL;
		else if (!unsound)
			problem = "changed";
	}
	SPI_freetuptable(SPI_tuptable);
	return problem;
}

/*
 * A row and its record.
 */
static void
check_pair(SealCheck *check)
{
	SealRecord *record = &check->records.record;
	const char *problem = NULL;

	if (record->flags & SEAL_REMOVED)
		problem = "inserted";
	else if (record->flags & SEAL_ERASED)
		problem = check_erased_row(check);
	else if (!row_fits(check, record->salt, record->leaf))
		problem = "changed";

	check->removed += (record->flags & SEAL_REMOVED) != 0;
	if (problem != NULL)
		add_problem(check, record->transaction, record->id, problem);
}

/*
 * A record without its row.
 */
static void
check_lonely_record(SealCheck *check)
{
	SealRecord *record = &check->records.record;

	if (record->flags & SEAL_REMOVED)
		check->removed++;
	else
		add_problem(check, record->transaction, record->id, "missing");
}

static bool
is_visible(uint64 transaction, Datum snapshot)
{
	return DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot, UInt64GetDatum(transaction), snapshot));
}

/*
 * A row without a record: it came later than the seal, unless its transaction
 * belongs to it.
 */
static void
check_lonely_row(SealCheck *check)
{
	SealSpan   *span = &check->span;
	SealRows   *rows = &check->rows;

	if (rows->id > check->newest_id)
		return;
	if (span->previous == 0)
	{
		if (!is_visible(rows->transaction, span->snapshot))
			return;
	}
	else if (rows->id <= span->floor &&
			 architect_seal_has_record(span->first_seal, rows->transaction, rows->id))
		return;
	add_problem(check, rows->transaction, rows->id, "inserted");
}

/*
 * Reads rows and records side by side.
 */
static void
check_rows(SealCheck *check)
{
	SealRows   *rows = &check->rows;
	SealRecord *record = &check->records.record;
	bool		has_row;
	bool		has_record;

	architect_seal_open_rows(rows, &check->span, check->last_id, true);
	open_records(&check->records, check->span.seal);
	has_row = architect_seal_next_row(rows);
	has_record = next_record(&check->records);
	while (has_row || has_record)
	{
		int			order = !has_row ? 1 : !has_record ? -1 :
			architect_seal_compare(rows->transaction, rows->id, record->transaction, record->id);

		if (order == 0)
			check_pair(check);
		else if (order < 0)
			check_lonely_row(check);
		else
			check_lonely_record(check);

		if (order >= 0)
			architect_seal_add_leaf(&check->forest, record->transaction, record->leaf);
		if (order <= 0)
			has_row = architect_seal_next_row(rows);
		if (order >= 0)
			has_record = next_record(&check->records);
	}
	architect_seal_close_rows(rows);
	close_records(&check->records);
}

/*
 * architect._audit_seal_check(seal, snapshot, previous, first_seal, floor,
 * last_id, newest_id, rows, transactions, root, removed, unsound): the problems
 * of one seal's rows and records.
 */
Datum
architect_audit_seal_check(PG_FUNCTION_ARGS)
{
	SealCheck  *check = palloc0(sizeof(SealCheck));
	bytea	   *root = PG_GETARG_BYTEA_PP(9);
	uint8		found[SEAL_HASH];

	InitMaterializedSRF(fcinfo, 0);
	check->result = (ReturnSetInfo *) fcinfo->resultinfo;
	check->span.seal = PG_GETARG_INT64(0);
	check->span.snapshot_type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	check->span.snapshot = PG_GETARG_DATUM(1);
	check->span.previous = PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2);
	check->span.first_seal = PG_GETARG_INT64(3);
	check->span.floor = PG_GETARG_INT64(4);
	check->last_id = PG_GETARG_INT64(5);
	check->newest_id = PG_GETARG_INT64(6);
	check->unsound = PG_GETARG_ARRAYTYPE_P(11);

	architect_seal_make_hasher(&check->hasher);
	architect_seal_start_forest(&check->forest, &check->hasher);
	SPI_connect();
	check_rows(check);
	SPI_finish();
	architect_seal_end_forest(&check->forest, found);
	architect_seal_free_hasher(&check->hasher);

	if (check->records.damaged)
		add_problem(check, 0, 0, "records are damaged");
	else if (check->forest.rows != PG_GETARG_INT64(7) ||
			 check->forest.outer.count != PG_GETARG_INT64(8) ||
			 VARSIZE_ANY_EXHDR(root) != SEAL_HASH || memcmp(found, VARDATA_ANY(root), SEAL_HASH) != 0)
		add_problem(check, 0, 0, "records are changed");
	if (check->removed != PG_GETARG_INT64(10))
		add_problem(check, 0, 0, "removed without a record");
	return (Datum) 0;
}
