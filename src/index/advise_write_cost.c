/*
 * advise_write_cost.c
 *    What an index that does not exist would cost a statement that changes its table.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/core.h"
#include "index/advise.h"

PG_FUNCTION_INFO_V1(architect_index_write_cost);

/* One call. */
typedef struct Call
{
	const char *statement;
	const char *query;
	AdviseWrite write;			/* all changes of the query together */
	double		build_seconds;
} Call;

static void
answer(void *argument)
{
	Call	   *call = argument;
	WhatIfWorld *world = architect_whatif_begin();
	WhatIfQuestion *question = architect_whatif_question(call->query, GetUserId(), NULL, NULL);
	WhatIfIndex *index = architect_whatif_create(world, call->statement);
	double		bytes = architect_whatif_bytes(index);
	ListCell   *cell;

	if (question->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", question->problem)));
	call->build_seconds = architect_advise_build_seconds(index->definition, bytes);
	foreach(cell, architect_advise_changes(world->facts, architect_whatif_plan(question, NULL)))
	{
		AdviseWrite write;

		architect_advise_write(index->definition, bytes, lfirst(cell), &write);
		call->write.entries += write.entries;
		call->write.cost += write.cost;
		call->write.wal_bytes += write.wal_bytes;
		call->write.lost_hot += write.lost_hot;
	}
}

/*
 * architect._index_write_cost(statement, query) → entries, cost, wal_bytes, lost_hot, build_seconds
 */
Datum
architect_index_write_cost(PG_FUNCTION_ARGS)
{
	Call		call = {.statement = text_to_cstring(PG_GETARG_TEXT_PP(0)),
			.query = text_to_cstring(PG_GETARG_TEXT_PP(1))};
	TupleDesc	desc;
	ErrorData  *error;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	error = architect_try_out(answer, &call);
	if (error != NULL)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error->message)));
	values[0] = Float8GetDatum(call.write.entries);
	values[1] = Float8GetDatum(call.write.cost);
	values[2] = Float8GetDatum(call.write.wal_bytes);
	values[3] = Float8GetDatum(call.write.lost_hot);
	values[4] = Float8GetDatum(call.build_seconds);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
