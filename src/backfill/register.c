/*
 * register.c
 *    Access to the register: our queries, whose plans are kept.
 *
 * A run asks the register several times a batch.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "backfill/register.h"
#include "core/core.h"

/* A query with its parameters, and what it gave. */
typedef struct QueryCall
{
	BackfillQuery *query;
	Datum	   *values;
	const char *nulls;
	MemoryContext context;		/* of the rows */
	List	   *rows;
} QueryCall;

/*
 * Prepares the query, for as long as the session lasts.
 */
static void
keep_plan(BackfillQuery *query)
{
	SPIPlanPtr	plan = SPI_prepare(query->text, query->nargs, unconstify(Oid *, query->types));

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare: %s", query->text);
	query->plan = plan;
}

static void
run_query(void *argument)
{
	QueryCall  *call = argument;
	bool		snapshot = ActiveSnapshotSet();

	SPI_connect();
	if (!snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (call->query->plan == NULL)
		keep_plan(call->query);
	if (SPI_execute_plan(call->query->plan, call->values, call->nulls, false, 0) < 0)
		elog(ERROR, "unexpected result of: %s", call->query->text);
	for (uint64 i = 0; SPI_tuptable != NULL && i < SPI_processed; i++)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi = MemoryContextSwitchTo(call->context);
		char	  **row = palloc0(desc->natts * sizeof(char *));

		for (int j = 0; j < desc->natts; j++)
			row[j] = SPI_getvalue(SPI_tuptable->vals[i], desc, j + 1);
		call->rows = lappend(call->rows, row);
		MemoryContextSwitchTo(spi);
	}
	if (!snapshot)
		PopActiveSnapshot();
	SPI_finish();
}

/*
 * Runs the query and returns its rows, made in the caller's context: each an array of
 * texts, NULL for NULL.  No snapshot need be active.
 */
List *
architect_backfill_query(BackfillQuery *query, Datum *values, const char *nulls)
{
	QueryCall	call = {query, values, nulls, CurrentMemoryContext};

	architect_as_owner(run_query, &call);
	return call.rows;
}

/*
 * Returns the texts as text[].
 */
Datum
architect_backfill_text_array(int count, char **texts)
{
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext, true);

	for (int i = 0; i < count; i++)
		result = accumArrayResult(result, CStringGetTextDatum(texts[i]), false, TEXTOID, CurrentMemoryContext);
	return makeArrayResult(result, CurrentMemoryContext);
}

/*
 * Returns the members of a text[] that a query gave; NULL for NULL.
 */
char **
architect_backfill_read_array(const char *array, int *count)
{
	Datum		value;
	Datum	   *members;
	char	  **result;

	*count = 0;
	if (array == NULL)
		return NULL;
	value = OidInputFunctionCall(F_ARRAY_IN, unconstify(char *, array), TEXTOID, -1);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &members, NULL, count);
	result = palloc(Max(*count, 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
		result[i] = TextDatumGetCString(members[i]);
	return result;
}
