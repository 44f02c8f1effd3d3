/*
 * whatif_explain.c
 *    Plans as EXPLAIN shows them.
 */
#include "postgres.h"

#include "commands/explain.h"

#include "compat.h"
#include "index/whatif.h"

/* Whose indexes are in the plan that is being shown. */
static const WhatIfConfiguration *shown = NULL;

static explain_get_index_name_hook_type previous_index_name;

/*
 * Returns the name of an index of ours.
 */
static const char *
name_index(Oid oid)
{
	const WhatIfLeaf *leaf = architect_whatif_find(shown, oid);

	if (leaf != NULL)
		return leaf->name;
	return previous_index_name == NULL ? NULL : previous_index_name(oid);
}

void
architect_whatif_explain_init(void)
{
	previous_index_name = explain_get_index_name_hook;
	explain_get_index_name_hook = name_index;
}

/*
 * Where a parameter has no value, what depends on it cannot be left out of the plan.
 */
static void
keep_partitions(Plan *plan, void *argument)
{
	architect_forget_pruning(plan);
}

static void
explain_plan(ExplainState *state, PlannedStmt *plan, const WhatIfQuestion *question)
{
	if (question->parameters->numParams == 0)
	{
		architect_whatif_walk(plan, keep_partitions, NULL);
		architect_explain_generic(state);
	}
	architect_explain_plan(plan, state, question->text, question->parameters);
}

/*
 * Returns the lines that EXPLAIN would show for plans made under a configuration; raises
 * what it raises.
 */
char *
architect_whatif_explain(const WhatIfQuestion *question, const WhatIfConfiguration *configuration, const List *plans,
						 bool verbose)
{
	ExplainState *state = NewExplainState();
	ListCell   *cell;

	state->verbose = verbose;
	shown = configuration;
	PG_TRY();
	{
		ExplainBeginOutput(state);
		foreach(cell, plans)
		{
			if (foreach_current_index(cell) > 0)
				ExplainSeparatePlans(state);
			explain_plan(state, lfirst(cell), question);
		}
		ExplainEndOutput(state);
	}
	PG_FINALLY();
	{
		shown = NULL;
	}
	PG_END_TRY();
	if (state->str->len > 0 && state->str->data[state->str->len - 1] == '\n')
		state->str->data[--state->str->len] = '\0';
	return state->str->data;
}
