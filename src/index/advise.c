/*
 * advise.c
 *    The best set of indexes for a workload, as rows.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "index/advise_access.h"
#include "index/advise_row.h"

PG_FUNCTION_INFO_V1(architect_index_advise);

/* An index must lower what the workload still costs by this share. */
#define LEAST_GAIN 0.001

/* What it costs to write a row, indexes aside, in the planner's units: its plan has it for nothing. */
#define ROW_COST 2.0

/* What a unit of cost takes, in milliseconds, where no query has been measured. */
#define UNIT_MILLISECONDS 0.005

static double
take_budget(text *budget)
{
	int64		bytes;

	if (budget == NULL)
		return INFINITY;
	bytes = DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PointerGetDatum(budget)));
	if (bytes < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("budget is negative")));
	return bytes;
}

/*
 * Returns an argument that is a number from 0 on, or the default where it is NULL.
 */
static double
take_number(FunctionCallInfo fcinfo, int argument, const char *name, double standard)
{
	double		value = PG_ARGISNULL(argument) ? standard : PG_GETARG_FLOAT8(argument);

	if (isnan(value) || value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be 0 or more", name)));
	return value;
}

/*
 * Returns an argument that is a whole number from 0 on; the most there is where it is NULL.
 */
static int
take_count(FunctionCallInfo fcinfo, int argument, const char *name)
{
	int			count = PG_ARGISNULL(argument) ? INT_MAX : PG_GETARG_INT32(argument);

	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be 0 or more", name)));
	return count;
}

static TimestampTz
take_deadline(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	if (PG_ARGISNULL(argument))
		return DT_NOEND;
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
													   PG_GETARG_DATUM(argument)));
	if (deadline <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time_limit must be more than 0")));
	return deadline;
}

static List *
take_tables(ArrayType *tables)
{
	Datum	   *oids;
	bool	   *nulls;
	int			count;
	List	   *list = NIL;

	deconstruct_array(tables, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &oids, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		Oid			oid = nulls[i] ? InvalidOid : DatumGetObjectId(oids[i]);
		char		kind = get_rel_relkind(oid);

		if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("tables[%d] is not a table", i + 1)));
		list = lappend_oid(list, oid);
	}
	return list;
}

static void
read_plans(const WhatIfConfiguration *configuration, const List *plans, void *argument)
{
	Advice	   *advice = argument;
	AdviseQuery *query = llast(advice->queries);

	query->changes = architect_advise_changes(advice->pool.world->facts, plans);
}

/*
 * Leaves out tables that indexes are not wanted for.
 */
static List *
choose_accesses(const Advice *advice, List *accesses)
{
	List	   *chosen = NIL;
	ListCell   *cell;

	foreach(cell, accesses)
	{
		AdviseAccess *access = lfirst(cell);

		if (advice->tables == NIL || list_member_oid(advice->tables, access->table->oid))
			chosen = lappend(chosen, access);
	}
	return chosen;
}

/*
 * Plans a statement as things are; one that cannot be planned is left out.
 */
static void
add_query(Advice *advice, AdviseStatement *statement)
{
	AdviseQuery *query;
	WhatIfQuestion *question;

	if (statement->problem == NULL && architect_advise_is_late(&advice->pool))
		statement->problem = "time_limit was over before it could be planned";
	if (statement->problem != NULL)
		return;
	question = architect_whatif_question(statement->text, statement->role, statement->search_path, statement->values);
	if (question->problem != NULL)
	{
		statement->problem = pstrdup(question->problem);
		MemoryContextDelete(question->context);
		return;
	}
	query = palloc0(sizeof(AdviseQuery));
	query->statement = statement;
	query->question = question;
	query->number = list_length(advice->queries);
	advice->queries = lappend(advice->queries, query);
	query->accesses = choose_accesses(advice, architect_advise_accesses(advice->pool.world->facts, question,
																		read_plans, advice));
}

/*
 * Weighs the queries: by the time they took where that is known, else by their cost and
 * how often they are called.  What is written counts as what the planner's units take on
 * the whole.
 */
static void
weigh(Advice *advice)
{
	double		milliseconds = 0;
	double		cost = 0;
	bool		is_measured = false;
	ListCell   *cell;

	foreach(cell, advice->queries)
	{
		const AdviseQuery *query = lfirst(cell);

		is_measured |= query->statement->milliseconds > 0;
		if (query->changes != NIL)
			continue;
		milliseconds += query->statement->milliseconds;
		cost += query->statement->calls * query->question->cost;
	}
	advice->unit = !is_measured ? 1 : milliseconds > 0 && cost > 0 ? milliseconds / cost : UNIT_MILLISECONDS;
	foreach(cell, advice->queries)
	{
		AdviseQuery *query = lfirst(cell);
		double		planned = query->question->cost;

		query->weight = query->statement->calls * advice->unit;
		if (query->statement->milliseconds > 0 && planned > 0)
			query->weight = query->statement->milliseconds / planned;
		advice->cost += query->weight * planned;
	}
}

/*
 * Adds up what an index costs those who write.
 */
void
architect_advise_count_writes(const Advice *advice, const IndexDefinition *index, double bytes, AdviseWrite *sum)
{
	ListCell   *cell;
	ListCell   *inner;

	memset(sum, 0, sizeof(AdviseWrite));
	foreach(cell, advice->queries)
	{
		const AdviseQuery *query = lfirst(cell);

		foreach(inner, query->changes)
		{
			const AdviseChange *change = lfirst(inner);
			AdviseWrite write = {0};

			architect_advise_write(index, bytes, change, &write);
			sum->entries += query->statement->calls * write.entries;
			sum->cost += query->statement->calls * write.cost * advice->unit;
			sum->wal_bytes += query->statement->calls * write.wal_bytes;
			sum->lost_hot += query->statement->calls * write.lost_hot;
		}
	}
}

/*
 * Returns what writes cost as things are: the plans, and the indexes that there are.
 */
static double
count_present_writes(const Advice *advice)
{
	double		cost = 0;
	ListCell   *cell;
	ListCell   *inner;
	ListCell   *index;

	foreach(cell, advice->queries)
	{
		const AdviseQuery *query = lfirst(cell);

		if (query->changes != NIL)
			cost += query->weight * query->question->cost;
		foreach(inner, query->changes)
		{
			const AdviseChange *change = lfirst(inner);

			cost += query->statement->calls * change->rows * ROW_COST * advice->unit;
			foreach(index, change->table->indexes)
			{
				const IndexDefinition *present = lfirst(index);
				AdviseWrite write = {0};

				architect_advise_write(present, (double) present->pages * BLCKSZ, change, &write);
				cost += query->statement->calls * write.cost * advice->unit;
			}
		}
	}
	return cost;
}

static void
weigh_writes(Advice *advice)
{
	AdvisePool *pool = &advice->pool;

	if (!isinf(advice->limits.max_writes))
		advice->limits.max_writes *= count_present_writes(advice);

	for (int i = 0; i < pool->ncandidates; i++)
	{
		AdviseWrite sum;

		if (pool->candidates[i]->index == NULL)
			continue;
		architect_advise_count_writes(advice, pool->candidates[i]->index->definition, pool->candidates[i]->bytes, &sum);
		pool->candidates[i]->write_cost = sum.cost;
	}
}

/*
 * Finds the best set.
 */
static void
advise(void *argument)
{
	Advice	   *advice = argument;
	AdvisePool *pool = &advice->pool;
	List	   *moves;
	ListCell   *cell;

	architect_advise_begin_part(pool, ADVISE_PLANNING);

	pool->context = CurrentMemoryContext;
	pool->world = architect_whatif_begin();
	foreach(cell, advice->statements)
		add_query(advice, lfirst(cell));
	weigh(advice);
	pool->nqueries = list_length(advice->queries);
	pool->queries = palloc(Max(pool->nqueries, 1) * sizeof(AdviseQuery *));
	foreach(cell, advice->queries)
		pool->queries[foreach_current_index(cell)] = lfirst(cell);

	moves = architect_advise_explore(pool);
	weigh_writes(advice);
	advice->limits.least_gain = LEAST_GAIN;
	architect_advise_begin_part(pool, ADVISE_SEARCH);
	advice->solution = architect_advise_search(pool, &advice->limits, moves);
	if (advice->wants_drops)
		advice->drops = architect_advise_drops(advice);
	architect_advise_write_rows(advice);
}

/*
 * architect.index_advise(budget, queries, weights, max_indexes, max_write_overhead,
 * max_regression, time_limit, tables, drops) → one row an index, or a query that is left out
 */
Datum
architect_index_advise(PG_FUNCTION_ARGS)
{
	Advice		advice = {0};
	ErrorData  *error;

	InitMaterializedSRF(fcinfo, 0);
	advice.result = (ReturnSetInfo *) fcinfo->resultinfo;
	advice.limits.budget = take_budget(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	advice.limits.max_indexes = take_count(fcinfo, 3, "max_indexes");
	advice.limits.max_writes = take_number(fcinfo, 4, "max_write_overhead", INFINITY);
	advice.limits.max_regression = take_number(fcinfo, 5, "max_regression", INFINITY);
	advice.pool.start = GetCurrentTimestamp();
	advice.pool.end = take_deadline(fcinfo, 6);
	advice.tables = PG_ARGISNULL(7) ? NIL : take_tables(PG_GETARG_ARRAYTYPE_P(7));
	advice.wants_drops = !PG_ARGISNULL(8) && PG_GETARG_BOOL(8);
	advice.statements = architect_advise_statements(PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
													PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2));
	error = architect_try_out(advise, &advice);
	if (error != NULL)
		ReThrowError(error);
	return (Datum) 0;
}
