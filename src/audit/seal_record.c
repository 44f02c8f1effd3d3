/*
 * seal_record.c
 *    Records of sealed rows, and the chunks that they are kept in.
 *
 * A chunk is a row of architect.audit_seal_rows.  Its records are of one size
 * and in the order of transaction and id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/xid8.h"

#include "audit/seal.h"
#include "compat.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_seal_records);
PG_FUNCTION_INFO_V1(architect_audit_seal_mark);

static void
put_uint64(char *to, uint64 number)
{
	number = pg_hton64(number);
	memcpy(to, &number, sizeof(number));
}

static uint64
get_uint64(const char *from)
{
	uint64		number;

	memcpy(&number, from, sizeof(number));
	return pg_ntoh64(number);
}

void
architect_seal_pack(const SealRecord *record, char *to)
{
	put_uint64(to, record->transaction);
	put_uint64(to + 8, record->id);
	to[16] = record->flags;
	memcpy(to + 17, record->salt, SEAL_SALT);
	memcpy(to + 17 + SEAL_SALT, record->leaf, SEAL_HASH);
}

void
architect_seal_unpack(const char *from, SealRecord *record)
{
	record->transaction = get_uint64(from);
	record->id = get_uint64(from + 8);
	record->flags = from[16];
	memcpy(record->salt, from + 17, SEAL_SALT);
	memcpy(record->leaf, from + 17 + SEAL_SALT, SEAL_HASH);
}

int
architect_seal_compare(uint64 transaction, int64 id, uint64 other_transaction, int64 other_id)
{
	if (transaction != other_transaction)
		return transaction < other_transaction ? -1 : 1;
	if (id != other_id)
		return id < other_id ? -1 : 1;
	return 0;
}

/*
 * True when the chunk has a record of this row.
 */
static bool
chunk_has(bytea *chunk, uint64 transaction, int64 id)
{
	const char *records = VARDATA_ANY(chunk);
	int			low = 0;
	int			high = VARSIZE_ANY_EXHDR(chunk) / SEAL_RECORD_SIZE - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		const char *record = records + middle * SEAL_RECORD_SIZE;
		int			order = architect_seal_compare(get_uint64(record), get_uint64(record + 8), transaction, id);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return false;
}

/*
 * True when this seal has a record of this row.  Needs SPI.
 */
bool
architect_seal_has_record(int64 seal, uint64 transaction, int64 id)
{
	static const char *const query = "SELECT data FROM " ARCHITECT_SCHEMA ".audit_seal_rows "
		"WHERE seal = $1 AND (first_transaction, first_id) <= ($2, $3) AND (last_transaction, last_id) >= ($2, $3)";
	Oid			types[] = {INT8OID, XID8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(seal), UInt64GetDatum(transaction), Int64GetDatum(id)};
	bool		found = false;

	if (SPI_execute_with_args(query, lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the records of seal " INT64_FORMAT, seal);

	for (uint64 i = 0; i < SPI_processed && !found; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		bytea	   *chunk = DatumGetByteaP(value);

		found = chunk_has(chunk, transaction, id);
		if (chunk != (bytea *) DatumGetPointer(value))
			pfree(chunk);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

static bytea *
bytes_datum(const uint8 *bytes, int length)
{
	bytea	   *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), bytes, length);
	return result;
}

/*
 * architect._audit_seal_records(data): the records of a chunk as rows.
 */
Datum
architect_audit_seal_records(PG_FUNCTION_ARGS)
{
	bytea	   *chunk = PG_GETARG_BYTEA_PP(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nrecords = VARSIZE_ANY_EXHDR(chunk) / SEAL_RECORD_SIZE;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nrecords; i++)
	{
		SealRecord	record;
		Datum		values[5];
		bool		nulls[5] = {false};
		bytea	   *salt;
		bytea	   *leaf;

		CHECK_FOR_INTERRUPTS();
		architect_seal_unpack(VARDATA_ANY(chunk) + i * SEAL_RECORD_SIZE, &record);
		salt = bytes_datum(record.salt, SEAL_SALT);
		leaf = bytes_datum(record.leaf, SEAL_HASH);
		values[0] = UInt64GetDatum(record.transaction);
		values[1] = Int64GetDatum(record.id);
		values[2] = Int32GetDatum(record.flags);
		values[3] = PointerGetDatum(salt);
		values[4] = PointerGetDatum(leaf);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		pfree(salt);
		pfree(leaf);
	}
	return (Datum) 0;
}

/*
 * Returns the elements of an array of 8-byte values without NULLs.
 */
static Datum *
get_elements(ArrayType *array, Oid type, int *count)
{
	Datum	   *elements;

	deconstruct_array(array, type, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, NULL, count);
	return elements;
}

/*
 * architect._audit_seal_mark(data, transactions, ids, flag): the chunk with the
 * flag set and the salt forgotten in the records of these rows, which come in
 * the order of records; and how many of them had not the flag before.
 */
Datum
architect_audit_seal_mark(PG_FUNCTION_ARGS)
{
	bytea	   *chunk = PG_GETARG_BYTEA_P_COPY(0);
	int			ntransactions;
	int			nids;
	Datum	   *transactions = get_elements(PG_GETARG_ARRAYTYPE_P(1), XID8OID, &ntransactions);
	Datum	   *ids = get_elements(PG_GETARG_ARRAYTYPE_P(2), INT8OID, &nids);
	uint8		flag = PG_GETARG_INT32(3);
	char	   *next = VARDATA(chunk);
	char	   *end = next + VARSIZE(chunk) - VARHDRSZ;
	int			marked = 0;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	if (ntransactions != nids)
		elog(ERROR, "arrays of different lengths");
	for (int i = 0; i < nids && end - next >= SEAL_RECORD_SIZE;)
	{
		int			order = architect_seal_compare(get_uint64(next), get_uint64(next + 8),
												   DatumGetUInt64(transactions[i]), DatumGetInt64(ids[i]));

		if (order == 0)
		{
			marked += (next[16] & flag) == 0;
			next[16] |= flag;
			memset(next + 17, 0, SEAL_SALT);
		}
		if (order >= 0)
			i++;
		if (order <= 0)
			next += SEAL_RECORD_SIZE;
	}

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type");
	values[0] = PointerGetDatum(chunk);
	values[1] = Int32GetDatum(marked);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
