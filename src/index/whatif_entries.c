/*
 * whatif_entries.c
 *    What a sample of a table would put into an index: rows that its predicate lets in,
 *    and the values of its columns.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "index/as_owner.h"
#include "index/whatif_sample.h"

/* Columns as they are computed. */
typedef struct Computing
{
	const WhatIfLeaf *leaf;
	WhatIfEntries *entries;
	EState	   *state;
	ExprContext *context;
	ExprState  *predicate;
	ExprState **columns;		/* of the index */
	int16	   *lengths;
	bool	   *by_value;
} Computing;

static void
begin(Computing *computing, TupleTableSlot *slot)
{
	const IndexOptInfo *info = &computing->leaf->info;
	int			nrows = computing->entries->sample->nrows;
	ListCell   *cell;

	computing->state = CreateExecutorState();
	computing->context = GetPerTupleExprContext(computing->state);
	computing->context->ecxt_scantuple = slot;
	computing->predicate = ExecPrepareQual(info->indpred, computing->state);
	computing->columns = palloc(info->ncolumns * sizeof(ExprState *));
	computing->lengths = palloc(info->ncolumns * sizeof(int16));
	computing->by_value = palloc(info->ncolumns * sizeof(bool));
	computing->entries->values = palloc(info->ncolumns * sizeof(Datum *));
	computing->entries->nulls = palloc(info->ncolumns * sizeof(bool *));
	foreach(cell, info->indextlist)
	{
		int			column = foreach_current_index(cell);
		Expr	   *value = lfirst_node(TargetEntry, cell)->expr;

		computing->columns[column] = ExecPrepareExpr(value, computing->state);
		get_typlenbyval(exprType((Node *) value), &computing->lengths[column], &computing->by_value[column]);
		computing->entries->values[column] = palloc(Max(nrows, 1) * sizeof(Datum));
		computing->entries->nulls[column] = palloc(Max(nrows, 1) * sizeof(bool));
	}
}

static void
compute(Computing *computing)
{
	WhatIfEntries *entries = computing->entries;
	int			place = entries->nentries;

	if (!ExecQual(computing->predicate, computing->context))
		return;
	for (int i = 0; i < computing->leaf->info.ncolumns; i++)
	{
		bool	   *isnull = &entries->nulls[i][place];
		Datum		value = ExecEvalExprSwitchContext(computing->columns[i], computing->context, isnull);

		entries->values[i][place] = *isnull ? (Datum) 0 :
			datumCopy(value, computing->by_value[i], computing->lengths[i]);
	}
	entries->nentries++;
}

/*
 * Returns the entries of an index that a sample makes, in the current memory context.
 * Raises what building the index would raise.
 */
WhatIfEntries *
architect_whatif_entries(const WhatIfLeaf *leaf, const WhatIfSample *sample)
{
	WhatIfEntries *entries = palloc0(sizeof(WhatIfEntries));
	Computing	computing = {.leaf = leaf, .entries = entries};
	TupleTableSlot *slot = MakeSingleTupleTableSlot(sample->desc, &TTSOpsHeapTuple);
	IndexUser	user;

	entries->sample = sample;
	architect_index_begin_as_owner(leaf->definition->table, &user);
	begin(&computing, slot);
	for (int i = 0; i < sample->nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ExecStoreHeapTuple(sample->rows[i], slot, false);
		compute(&computing);
		ResetExprContext(computing.context);
	}
	architect_index_end_as_owner(&user);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(computing.state);
	return entries;
}
