/*
 * advise_keep.c
 *    The rows of index_advise, kept for later, or written as one text.
 *
 * index_advise is called with the caller's rights and search_path.  What it gives goes to
 * functions of ours that run as the owner of the extension, so that nobody keeps anything
 * else, nor for another role.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/core.h"
#include "index/kept.h"

PG_FUNCTION_INFO_V1(architect_index_advise_keep);
PG_FUNCTION_INFO_V1(architect_index_advise_report);

/* The texts, where they were given. */
#define QUERIES_ARGUMENT 1

/* What index_advise gives. */
typedef struct AdviceRows
{
	MemoryContext context;
	Datum		relations;		/* oid[] */
	Datum		rows;			/* jsonb[] */
	Datum		counts;			/* jsonb: what pg_stat_statements has of its queries */
	bool		has_counts;
} AdviceRows;

/*
 * Returns the query that asks index_advise, with parameters for all arguments.
 */
static const char *
compose_query(int nargs)
{
	StringInfoData arguments;

	initStringInfo(&arguments);
	for (int i = 0; i < nargs; i++)
		appendStringInfo(&arguments, "%s$%d", i == 0 ? "" : ", ", i + 1);
	return psprintf("WITH whole AS MATERIALIZED ("
					"SELECT coalesce(pg_catalog.array_agg(advice.relation::pg_catalog.oid), '{}') AS relations, "
					"coalesce(pg_catalog.array_agg(pg_catalog.to_jsonb(advice)), '{}') AS advice "
					"FROM " ARCHITECT_SCHEMA ".index_advise(%s) AS advice) "
					"SELECT whole.relations, whole.advice, counted.counts "
					"FROM whole, " ARCHITECT_SCHEMA "._index_query_counts(whole.advice) AS counted", arguments.data);
}

static Datum
take(const AdviceRows *advice, int column, bool *isnull)
{
	MemoryContext before;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);

	if (*isnull)
		return (Datum) 0;
	before = MemoryContextSwitchTo(advice->context);
	value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(before);
	return value;
}

/*
 * Asks index_advise with the arguments of this call, which are the same.
 */
static void
ask(FunctionCallInfo fcinfo, AdviceRows *advice)
{
	int			nargs = PG_NARGS();
	Datum	   *values = palloc(nargs * sizeof(Datum));
	char	   *nulls = palloc(nargs + 1);
	Oid		   *types;
	bool		isnull;

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &nargs);
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	nulls[nargs] = '\0';
	advice->context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args(compose_query(nargs), nargs, types, values, nulls, true, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not ask for advice");
	advice->relations = take(advice, 1, &isnull);
	advice->rows = take(advice, 2, &isnull);
	advice->counts = take(advice, 3, &isnull);
	advice->has_counts = !isnull;
	SPI_finish();
}

/*
 * Returns the kept advice that has been followed (bigint[]), or of which that is not known
 * because others have locked its table.
 */
static Datum
find_done(void)
{
	ArrayBuildState *done = initArrayResult(INT8OID, CurrentMemoryContext, false);
	ListCell   *cell;

	foreach(cell, architect_index_read_kept(architect_index_read_facts()))
	{
		const IndexKept *kept = lfirst(cell);

		if (architect_index_is_done(kept) || (kept->table != NULL && kept->table->is_locked))
			accumArrayResult(done, Int64GetDatum(kept->id), false, INT8OID, CurrentMemoryContext);
	}
	return makeArrayResult(done, CurrentMemoryContext);
}

/*
 * architect.index_advise_keep(budget, …) → how many rows
 */
Datum
architect_index_advise_keep(PG_FUNCTION_ARGS)
{
	Oid			types[] = {NAMEOID, INT8ARRAYOID, OIDARRAYOID, JSONBARRAYOID, JSONBOID};
	Datum		values[lengthof(types)];
	char		nulls[] = "     ";
	NameData	caller;
	AdviceRows	advice;
	char	  **row;

	PreventCommandIfReadOnly("architect.index_advise_keep()");
	ask(fcinfo, &advice);
	namestrcpy(&caller, GetUserNameFromId(GetUserId(), false));
	values[0] = NameGetDatum(&caller);
	values[1] = find_done();
	values[2] = advice.relations;
	values[3] = advice.rows;
	values[4] = advice.counts;
	nulls[4] = advice.has_counts ? ' ' : 'n';
	row = linitial(architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._index_keep_advice($1, $2, $3, $4, $5)",
										   lengthof(types), types, values, nulls));
	return DirectFunctionCall1(int8in, CStringGetDatum(row[0]));
}

/*
 * architect.index_advise_report(budget, …) → one row a line
 */
Datum
architect_index_advise_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[] = {JSONBARRAYOID, JSONBOID, TEXTARRAYOID};
	Datum		values[lengthof(types)];
	char		nulls[] = "   ";
	AdviceRows	advice;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	ask(fcinfo, &advice);
	values[0] = advice.rows;
	values[1] = advice.counts;
	nulls[1] = advice.has_counts ? ' ' : 'n';
	values[2] = PG_GETARG_DATUM(QUERIES_ARGUMENT);
	nulls[2] = PG_ARGISNULL(QUERIES_ARGUMENT) ? 'n' : ' ';
	foreach(cell, architect_read_as_owner("SELECT " ARCHITECT_SCHEMA "._index_write_report($1, $2, $3)",
										  lengthof(types), types, values, nulls))
	{
		char	  **row = lfirst(cell);
		Datum		line = CStringGetTextDatum(row[0]);
		bool		isnull = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &line, &isnull);
	}
	return (Datum) 0;
}
