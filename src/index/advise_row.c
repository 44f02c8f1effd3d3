/*
 * advise_row.c
 *    The answer to a call for advice: a row an index, and one a query that is left out.
 *
 * Indexes are ranked by what each adds to those before it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "index/advise_row.h"
#include "index/cover.h"

/* Statistics are old when this share of the rows has changed since. */
#define STALE_SHARE 0.2

/* The columns of the function. */
enum
{
	RANK,
	ACTION,
	STATEMENT,
	UNDO,
	RELATION,
	SIZE_BYTES,
	COST_BEFORE,
	COST_AFTER,
	WRITE_COST,
	QUERIES,
	CONFIDENCE,
	QUERY_NUMBER,
	REASON,
	BUILD_SECONDS,
	WRITE_ROWS,
	WAL_BYTES,
	LOST_HOT,
	BREAK_EVEN,
	STATISTICS_AGE,
	NCOLUMNS
};

typedef struct Row
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
} Row;

static void
set(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
set_number(Row *row, int column, double value)
{
	set(row, column, Float8GetDatum(value));
}

static void
set_text(Row *row, int column, const char *text)
{
	set(row, column, CStringGetTextDatum(text));
}

static Row *
begin_row(const char *action)
{
	Row		   *row = palloc0(sizeof(Row));

	memset(row->nulls, true, sizeof(row->nulls));
	set_text(row, ACTION, action);
	return row;
}

static void
put_row(Advice *advice, Row *row)
{
	tuplestore_putvalues(advice->result->setResult, advice->result->setDesc, row->values, row->nulls);
}

/* The queries that use an index. */
typedef struct Served
{
	StringInfoData list;		/* of objects, as JSON */
	int64		query_id;		/* of the last of them */
	int			count;			/* of queries: several statements may be examples of one */
	bool		is_known;		/* one has values for its parameters, or has none */
	double		before;			/* their cost, weighed */
	double		after;
} Served;

static void
add_served(Served *served, const Advice *advice, const AdviseQuery *query, double cost)
{
	const AdviseStatement *statement = query->statement;
	double		before = query->question->cost;

	appendStringInfo(&served->list, "%s{\"number\": %d, ", served->count > 0 ? ", " : "", statement->number);
	if (statement->query_id != 0)
		appendStringInfo(&served->list, "\"query_id\": " INT64_FORMAT ", ", statement->query_id);
	appendStringInfo(&served->list, "\"calls\": %.15g, \"share\": %.4g, \"cost_before\": %.2f, \"cost_after\": %.2f}",
					 statement->calls, advice->cost > 0 ? query->weight * before / advice->cost : 0, before, cost);
	if (statement->query_id == 0 || statement->query_id != served->query_id)
		served->count++;
	served->query_id = statement->query_id;
	served->is_known |= strchr(query->question->text, '$') == NULL || query->question->parameters->numParams > 0;
	served->before += query->weight * before;
	served->after += query->weight * cost;
}

static void
find_served(Advice *advice, int number, Served *served)
{
	AdvisePool *pool = &advice->pool;

	memset(served, 0, sizeof(Served));
	initStringInfo(&served->list);
	appendStringInfoChar(&served->list, '[');
	for (int i = 0; i < pool->nqueries; i++)
	{
		Bitmapset  *used;
		double		cost = architect_advise_cost(pool, pool->queries[i], advice->solution.set, &used);

		if (bms_is_member(number, used))
			add_served(served, advice, pool->queries[i], cost);
	}
	appendStringInfoChar(&served->list, ']');
}

static bool
has_fresh_statistics(const IndexTable *table)
{
	return table->counts.last_analyze != 0 && table->counts.changes_since_analyze <= STALE_SHARE * table->rows;
}

/*
 * Says how sure the advice is, and why it is not.
 */
static void
set_confidence(Row *row, StringInfo reason, const AdviseCandidate *candidate, const Served *served)
{
	bool		is_likely = false;

	if (candidate->table->counts.last_analyze == 0)
		appendStringInfoString(reason, " Its table has not been analyzed since the counters began.");
	else if (!has_fresh_statistics(candidate->table))
		appendStringInfoString(reason, " Much of its table has changed since it was analyzed.");
	else if (!served->is_known)
		appendStringInfoString(reason, " No values of parameters are known.");
	else
		is_likely = true;
	set_text(row, CONFIDENCE, is_likely ? "likely" : "hint");
}

static void
set_statements(Row *row, Advice *advice, IndexReview *review, const AdviseCandidate *candidate)
{
	IndexFinding finding = {.review = review, .table = candidate->table};
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, candidate->keys)
	{
		const AdviseKey *key = lfirst(cell);

		names = lappend(names, key->attnum > 0 ? candidate->table->columns[key->attnum - 1].name : "expr");
	}
	architect_index_propose_create(&finding, names, candidate->body);
	set_text(row, STATEMENT, finding.statement);
	set_text(row, UNDO, finding.undo);
}

static void
set_writes(Row *row, const Advice *advice, AdviseCandidate *candidate, double gain)
{
	AdviseWrite sum;

	architect_advise_count_writes(advice, candidate->index->definition, candidate->bytes, &sum);
	set_number(row, WRITE_COST, sum.cost);
	set_number(row, WRITE_ROWS, sum.entries);
	set_number(row, WAL_BYTES, sum.wal_bytes);
	set_number(row, LOST_HOT, sum.lost_hot);
	if (sum.cost > 0)
		set_number(row, BREAK_EVEN, (gain + sum.cost) / sum.cost);
}

static void
set_age(Row *row, const IndexTable *table)
{
	if (table->counts.last_analyze != 0)
		set(row, STATISTICS_AGE, DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
													 TimestampTzGetDatum(table->counts.last_analyze)));
}

/*
 * Puts the row of an index, which lowers the cost of the workload from one to the other.
 */
static void
put_index(Advice *advice, IndexReview *review, int number, int rank, double before, double after)
{
	AdviseCandidate *candidate = advice->pool.candidates[number];
	Row		   *row = begin_row("create");
	StringInfoData reason;
	Served		served;

	find_served(advice, number, &served);
	set(row, RANK, Int32GetDatum(rank));
	set_statements(row, advice, review, candidate);
	set(row, RELATION, ObjectIdGetDatum(candidate->table->oid));
	set(row, SIZE_BYTES, Int64GetDatum((int64) candidate->bytes));
	set_number(row, COST_BEFORE, before);
	set_number(row, COST_AFTER, after);
	set_writes(row, advice, candidate, before - after);
	set(row, QUERIES, DirectFunctionCall1(jsonb_in, CStringGetDatum(served.list.data)));
	set_number(row, BUILD_SECONDS, architect_advise_build_seconds(candidate->index->definition, candidate->bytes));
	set_age(row, candidate->table);

	initStringInfo(&reason);
	appendStringInfo(&reason, "%d %s it, and %s %.1f %% less with all that is advised; the workload costs %.1f %% "
					 "less with this index.", served.count, served.count == 1 ? "query uses" : "queries use",
					 served.count == 1 ? "costs" : "cost",
					 served.before > 0 ? 100 * (1 - served.after / served.before) : 0,
					 before > 0 ? 100 * (1 - after / before) : 0);
	set_confidence(row, &reason, candidate, &served);
	set_text(row, REASON, reason.data);
	put_row(advice, row);
}

/*
 * Returns the index of the set that gains most beside those that are ranked already.
 */
static int
find_next(Advice *advice, const Bitmapset *ranked, double *gain)
{
	AdvisePool *pool = &advice->pool;
	int			number = -1;
	int			best = -1;

	while ((number = bms_next_member(advice->solution.set, number)) >= 0)
	{
		double		gained;

		if (bms_is_member(number, ranked))
			continue;
		gained = architect_advise_gain(pool, ranked, pool->candidates[number]);
		if (best >= 0 && gained <= *gain)
			continue;
		best = number;
		*gain = gained;
	}
	return best;
}

/*
 * Puts the row of an index that need not stay.
 */
static void
put_drop(Advice *advice, IndexReview *review, const AdviseDrop *drop, int rank, double before)
{
	IndexDefinition *index = drop->index;
	IndexFinding finding = {.review = review, .table = index->table, .index = index};
	Row		   *row = begin_row("drop");
	StringInfoData reason;

	architect_index_propose_drop(&finding, index);
	set(row, RANK, Int32GetDatum(rank));
	set_text(row, STATEMENT, finding.statement);
	set_text(row, UNDO, finding.undo);
	set(row, RELATION, ObjectIdGetDatum(index->table->oid));
	set(row, SIZE_BYTES, Int64GetDatum((int64) index->pages * BLCKSZ));
	set_number(row, COST_BEFORE, before);
	set_number(row, COST_AFTER, before + drop->change);
	set_number(row, WRITE_COST, -drop->saved);
	set_text(row, CONFIDENCE, architect_index_is_idle(review, index) ? "likely" : "hint");
	set_age(row, index->table);

	initStringInfo(&reason);
	appendStringInfo(&reason, "None of the %d queries needs it: ", advice->pool.nqueries);
	if (drop->users == 0)
		appendStringInfoString(&reason, "no plan has it");
	else
		appendStringInfo(&reason, "%d with it in the plan %s at most %.1f %% more without it", drop->users,
						 drop->users == 1 ? "costs" : "cost", 100 * drop->worst);
	appendStringInfo(&reason, ". The server has counted %.0f scans of it; replicas count for themselves.",
					 index->counts.index_scans);
	set_text(row, REASON, reason.data);
	put_row(advice, row);
}

static void
put_indexes(Advice *advice)
{
	IndexReview review = {.facts = advice->pool.world->facts};
	Bitmapset  *ranked = NULL;
	double		before = advice->cost;
	double		gain = 0;
	ListCell   *cell;
	int			number;
	int			rank = 1;

	for (; (number = find_next(advice, ranked, &gain)) >= 0; rank++)
	{
		put_index(advice, &review, number, rank, before, before - gain);
		before -= gain;
		ranked = bms_add_member(ranked, number);
	}
	foreach(cell, advice->drops)
	{
		const AdviseDrop *drop = lfirst(cell);

		put_drop(advice, &review, drop, rank++, before);
		before += drop->change;
	}
}

static void
put_left_out(Advice *advice, const AdviseStatement *statement)
{
	Row		   *row = begin_row("skip");

	set(row, QUERY_NUMBER, Int32GetDatum(statement->number));
	if (statement->query_id != 0)
		set(row, QUERIES, DirectFunctionCall1(jsonb_in, CStringGetDatum(
				psprintf("[{\"number\": %d, \"query_id\": " INT64_FORMAT ", \"calls\": %.15g}]",
						 statement->number, statement->query_id, statement->calls))));
	set_text(row, REASON, statement->problem);
	put_row(advice, row);
}

void
architect_advise_write_rows(Advice *advice)
{
	ListCell   *cell;

	put_indexes(advice);
	foreach(cell, advice->statements)
	{
		const AdviseStatement *statement = lfirst(cell);

		if (statement->problem != NULL)
			put_left_out(advice, statement);
	}
}
