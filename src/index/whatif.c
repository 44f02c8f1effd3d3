/*
 * whatif.c
 *    What a query costs now, and with other indexes.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/core.h"
#include "index/whatif.h"

PG_FUNCTION_INFO_V1(architect_index_what_if);
PG_FUNCTION_INFO_V1(architect_index_explain);
PG_FUNCTION_INFO_V1(architect_index_what_if_seconds);

/* One call. */
typedef struct Call
{
	const char *query;
	ArrayType  *values;			/* of parameters; NULL: none */
	ArrayType  *created;		/* NULL: none */
	ArrayType  *dropped;		/* likewise */
	int64		times;			/* that the question is asked, to see how long it takes */
	double		seconds;
	bool		verbose;
	bool		shows_before;
	bool		shows_after;
	char	   *doing;			/* what an error is about; NULL: the query */
	WhatIfWorld *world;			/* NULL: none yet */
	WhatIfQuestion *question;
	WhatIfConfiguration configuration;
	WhatIfUse	use;
	double		cost_after;		/* infinite until it is known */
	double	   *sizes;			/* of those to create */
	char	   *before;			/* plans as text */
	char	   *after;
} Call;

/*
 * True when another index that is to be created has the name.
 */
static bool
is_taken(const Call *call, const char *name)
{
	ListCell   *cell;

	foreach(cell, call->configuration.indexes)
	{
		if (strcmp(((WhatIfIndex *) lfirst(cell))->name, name) == 0)
			return true;
	}
	return false;
}

static void
create_indexes(Call *call)
{
	Datum	   *sources;
	bool	   *nulls;
	int			count;

	deconstruct_array(call->created, TEXTOID, -1, false, TYPALIGN_INT, &sources, &nulls, &count);
	if (count > 0)
		call->world = architect_whatif_begin();
	call->sizes = palloc0(count * sizeof(double));
	for (int i = 0; i < count; i++)
	{
		WhatIfIndex *index;
		const char *chosen;

		call->doing = psprintf("create_indexes[%d]", i + 1);
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the statement is NULL")));
		index = architect_whatif_create(call->world, TextDatumGetCString(sources[i]));
		chosen = index->name;
		for (int number = 1; is_taken(call, index->name); number++)
			index->name = psprintf("%s%d", chosen, number);
		call->configuration.indexes = lappend(call->configuration.indexes, index);
		call->sizes[i] = architect_whatif_bytes(index);
	}
}

static void
drop_indexes(Call *call)
{
	Datum	   *oids;
	bool	   *nulls;
	int			count;

	deconstruct_array(call->dropped, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &oids, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		Oid			oid = nulls[i] ? InvalidOid : DatumGetObjectId(oids[i]);
		char		kind = get_rel_relkind(oid);

		call->doing = psprintf("drop_indexes[%d]", i + 1);
		if (kind != RELKIND_INDEX && kind != RELKIND_PARTITIONED_INDEX)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("it is not an index")));
		architect_whatif_hide(&call->configuration, oid);
	}
}

/*
 * Makes the question and the configuration; raises what is wrong with either.
 */
static void
prepare(Call *call)
{
	call->question = architect_whatif_question(call->query, GetUserId(), NULL, call->values);
	if (call->question->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", call->question->problem)));
	if (call->shows_before)
		call->before = architect_whatif_explain(call->question, NULL, architect_whatif_plan(call->question, NULL),
												call->verbose);
	if (call->created != NULL)
		create_indexes(call);
	if (call->dropped != NULL)
		drop_indexes(call);
	call->doing = NULL;
}

/*
 * Answers the call: what is not reached raises an error.
 */
static void
answer(void *argument)
{
	Call	   *call = argument;
	List	   *plans;

	prepare(call);
	plans = architect_whatif_plan(call->question, &call->configuration);
	call->cost_after = architect_whatif_plan_cost(plans);
	architect_whatif_find_use(&call->configuration, plans, &call->use);
	if (call->shows_after)
		call->after = architect_whatif_explain(call->question, &call->configuration, plans, call->verbose);
}

/*
 * Asks the same question as often as the call wants.
 */
static void
ask_often(void *argument)
{
	Call	   *call = argument;
	instr_time	begin;
	instr_time	end;

	prepare(call);
	INSTR_TIME_SET_CURRENT(begin);
	for (int64 i = 0; i < call->times; i++)
		(void) architect_whatif_cost(call->question, &call->configuration, &call->use);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	call->seconds = INSTR_TIME_GET_DOUBLE(end);
}

/*
 * Takes what both functions have for arguments.
 */
static void
take_arguments(FunctionCallInfo fcinfo, Call *call)
{
	memset(call, 0, sizeof(Call));
	call->cost_after = INFINITY;
	call->query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	call->created = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	call->dropped = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	call->values = PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4);
}

static Datum
used_indexes(const Call *call)
{
	ArrayBuildState *names = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	ListCell   *cell;

	foreach(cell, call->use.indexes)
		accumArrayResult(names, CStringGetTextDatum(quote_identifier(((WhatIfIndex *) lfirst(cell))->name)), false,
						 TEXTOID, CurrentMemoryContext);
	foreach(cell, call->use.real)
	{
		char	   *name = DatumGetCString(DirectFunctionCall1(regclassout, lfirst_oid(cell)));

		accumArrayResult(names, CStringGetTextDatum(name), false, TEXTOID, CurrentMemoryContext);
	}
	return makeArrayResult(names, CurrentMemoryContext);
}

static Datum
index_sizes(const Call *call)
{
	ArrayBuildState *sizes = initArrayResult(INT8OID, CurrentMemoryContext, false);

	for (int i = 0; i < list_length(call->configuration.indexes); i++)
		accumArrayResult(sizes, Int64GetDatum((int64) call->sizes[i]), false, INT8OID, CurrentMemoryContext);
	return makeArrayResult(sizes, CurrentMemoryContext);
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static char *
error_text(const Call *call, const ErrorData *error)
{
	return call->doing == NULL ? error->message : psprintf("%s: %s", call->doing, error->message);
}

/*
 * architect.index_what_if(query, create_indexes, drop_indexes, plans, parameters) → one row
 */
Datum
architect_index_what_if(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	ErrorData  *error;
	Call		call;
	Datum		values[7];
	bool		nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	take_arguments(fcinfo, &call);
	call.shows_before = call.shows_after = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	error = architect_try_out(answer, &call);

	nulls[0] = call.question == NULL || call.question->problem != NULL;
	values[0] = nulls[0] ? (Datum) 0 : Float8GetDatum(call.question->cost);
	nulls[1] = nulls[2] = error != NULL;
	if (error == NULL)
	{
		values[1] = Float8GetDatum(call.cost_after);
		values[2] = used_indexes(&call);
	}
	values[3] = index_sizes(&call);
	set_text(&values[4], &nulls[4], call.before);
	set_text(&values[5], &nulls[5], call.after);
	set_text(&values[6], &nulls[6], error == NULL ? NULL : error_text(&call, error));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * architect.index_explain(query, create_indexes, drop_indexes, verbose, parameters) → one row a line
 */
Datum
architect_index_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ErrorData  *error;
	char	   *line;
	Call		call;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	take_arguments(fcinfo, &call);
	call.verbose = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	call.shows_after = true;
	error = architect_try_out(answer, &call);
	if (error != NULL)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error_text(&call, error))));
	for (line = call.after; line != NULL;)
	{
		char	   *end = strchr(line, '\n');
		Datum		value;
		bool		isnull = false;

		value = PointerGetDatum(cstring_to_text_with_len(line, end == NULL ? strlen(line) : end - line));
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
		line = end == NULL ? NULL : end + 1;
	}
	return (Datum) 0;
}

/*
 * architect._index_what_if_seconds(query, create_indexes, times) → seconds
 */
Datum
architect_index_what_if_seconds(PG_FUNCTION_ARGS)
{
	ErrorData  *error;
	Call		call = {.query = text_to_cstring(PG_GETARG_TEXT_PP(0)), .created = PG_GETARG_ARRAYTYPE_P(1),
			.times = PG_GETARG_INT64(2)};

	error = architect_try_out(ask_often, &call);
	if (error != NULL)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error_text(&call, error))));
	PG_RETURN_FLOAT8(call.seconds);
}
