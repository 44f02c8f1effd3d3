/*
 * whatif_plan.c
 *    Has the planner see indexes that do not exist, and not see some that do.
 *
 * The hooks do nothing but for our own plans.  A function that the planner runs may
 * plan and run queries: those are known by their parameters, which are not ours.  The
 * planner of the server is called, without what others have put around it, as hints.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/selfuncs.h"

#include "compat.h"
#include "core/core.h"
#include "index/whatif.h"

/* A leaf's lists, for one position in the range table. */
typedef struct WhatIfLists
{
	Index		position;
	List	   *expressions;
	List	   *predicate;
	List	   *columns;
} WhatIfLists;

/* What is being planned. */
static const WhatIfConfiguration *active = NULL;
static ParamListInfo active_parameters;

static get_relation_info_hook_type previous_relation_info;
static get_index_stats_hook_type previous_index_stats;

/*
 * Returns the leaf's lists for this position, made when they are first asked for.
 */
static WhatIfLists *
find_lists(WhatIfLeaf *leaf, Index position)
{
	MemoryContext before;
	WhatIfLists *lists;
	ListCell   *cell;

	foreach(cell, leaf->lists)
	{
		lists = lfirst(cell);
		if (lists->position == position)
			return lists;
	}
	before = MemoryContextSwitchTo(leaf->index->context);
	lists = palloc(sizeof(WhatIfLists));
	lists->position = position;
	lists->expressions = copyObject(leaf->info.indexprs);
	lists->predicate = copyObject(leaf->info.indpred);
	lists->columns = copyObject(leaf->info.indextlist);
	ChangeVarNodes((Node *) lists->expressions, 1, position, 0);
	ChangeVarNodes((Node *) lists->predicate, 1, position, 0);
	ChangeVarNodes((Node *) lists->columns, 1, position, 0);
	leaf->lists = lappend(leaf->lists, lists);
	MemoryContextSwitchTo(before);
	return lists;
}

static void
add_index(WhatIfLeaf *leaf, RelOptInfo *rel)
{
	IndexOptInfo *info = palloc(sizeof(IndexOptInfo));

	*info = leaf->info;
	info->rel = rel;
	info->tuples = Min(leaf->share * rel->tuples, rel->tuples);
	if (active->is_knowledge)
	{
		info->amhasgettuple = false;
		info->amhasgetbitmap = false;
		info->amcanparallel = false;
	}
	if (rel->relid != 1)
	{
		WhatIfLists *lists = find_lists(leaf, rel->relid);

		info->indexprs = lists->expressions;
		info->indpred = lists->predicate;
		info->indextlist = lists->columns;
	}
	rel->indexlist = lcons(info, rel->indexlist);
}

static void
hide_indexes(RelOptInfo *rel)
{
	ListCell   *cell;

	foreach(cell, rel->indexlist)
	{
		if (list_member_oid(active->hidden, ((IndexOptInfo *) lfirst(cell))->indexoid))
			rel->indexlist = foreach_delete_current(rel->indexlist, cell);
	}
}

static void
change_indexes(PlannerInfo *root, Oid relation, bool is_parent, RelOptInfo *rel)
{
	ListCell   *cell;

	if (previous_relation_info != NULL)
		previous_relation_info(root, relation, is_parent, rel);
	if (active == NULL || root->glob->boundParams != active_parameters)
		return;
	if (active->hidden != NIL)
		hide_indexes(rel);
	if (is_parent)
		return;
	foreach(cell, active->indexes)
	{
		WhatIfLeaf *leaf = architect_whatif_leaf(lfirst(cell), relation);

		if (leaf != NULL)
			add_index(leaf, rel);
	}
}

/*
 * Returns what has this oid, of what is being planned with; NULL where nothing has.
 */
const WhatIfLeaf *
architect_whatif_active_leaf(Oid oid)
{
	return architect_whatif_find(active, oid);
}

static void
keep_statistics(HeapTuple statistics)
{
}

/*
 * Sets the statistics of an expression of ours; false where there are none.  Those of a
 * partial index serve for its own cost, where no table is named, and not for the rows of
 * the table: so the planner has it for real ones.
 */
static bool
find_statistics(PlannerInfo *root, Oid index, AttrNumber number, VariableStatData *variable)
{
	const RangeTblEntry *table = variable->rel == NULL ? NULL : planner_rt_fetch(variable->rel->relid, root);
	const WhatIfLeaf *leaf = architect_whatif_active_leaf(index);

	if (leaf == NULL || leaf->statistics[number - 1] == NULL || (leaf->info.indpred != NIL && table != NULL))
		return false;
	variable->statsTuple = leaf->statistics[number - 1];
	variable->freefunc = keep_statistics;
	variable->acl_ok = table != NULL && table->securityQuals == NIL &&
		pg_class_aclcheck(table->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	return true;
}

static bool
give_statistics(PlannerInfo *root, Oid index, AttrNumber number, VariableStatData *variable)
{
	bool		is_ours = active != NULL && root->glob->boundParams == active_parameters;

	if (is_ours && find_statistics(root, index, number, variable))
		return true;
	return previous_index_stats != NULL && previous_index_stats(root, index, number, variable);
}

void
architect_whatif_init(void)
{
	previous_index_stats = get_index_stats_hook;
	get_index_stats_hook = give_statistics;
	previous_relation_info = get_relation_info_hook;
	get_relation_info_hook = change_indexes;
}

static void
plan_queries(const WhatIfQuestion *question, List **plans)
{
	ListCell   *cell;

	*plans = NIL;
	foreach(cell, question->queries)
	{
		Query	   *query = lfirst(cell);

		if (query->commandType != CMD_UTILITY)
			*plans = lappend(*plans, standard_planner(copyObject(query), question->text, CURSOR_OPT_PARALLEL_OK,
													  question->parameters));
	}
}

/*
 * Returns the plans of a question under a configuration, or as things are; raises what
 * the planner raises.
 */
List *
architect_whatif_plan(WhatIfQuestion *question, const WhatIfConfiguration *configuration)
{
	const WhatIfConfiguration *outer = active;
	ParamListInfo outer_parameters = active_parameters;
	List	   *plans;

	active = configuration;
	active_parameters = question->parameters;
	PG_TRY();
	{
		plan_queries(question, &plans);
	}
	PG_FINALLY();
	{
		active = outer;
		active_parameters = outer_parameters;
	}
	PG_END_TRY();
	return plans;
}

double
architect_whatif_plan_cost(const List *plans)
{
	double		cost = 0;
	ListCell   *cell;

	foreach(cell, plans)
		cost += lfirst_node(PlannedStmt, cell)->planTree->total_cost;
	return cost;
}

/* A question that is being planned. */
typedef struct Planning
{
	WhatIfQuestion *question;
	const WhatIfConfiguration *configuration;
	List	   *plans;
} Planning;

static void
plan(void *argument)
{
	Planning   *planning = argument;

	planning->plans = architect_whatif_plan(planning->question, planning->configuration);
}

/*
 * Does it as the role of the question.
 */
static ErrorData *
plan_as_role(Planning *planning)
{
	ErrorData  *error;
	Oid			user;
	int			context;

	if (planning->question->role == GetUserId())
		return architect_attempt(plan, planning);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(planning->question->role,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	error = architect_attempt(plan, planning);
	SetUserIdAndSecContext(user, context);
	return error;
}

/*
 * Shows the plans of a question under a configuration to the reader, in the caller's
 * memory context; they are gone afterwards.  False where it cannot be planned.
 */
bool
architect_whatif_read(WhatIfQuestion *question, const WhatIfConfiguration *configuration, WhatIfReader reader,
					  void *argument)
{
	Planning	planning = {.question = question, .configuration = configuration};
	MemoryContext caller;
	bool		is_planned;

	CHECK_FOR_INTERRUPTS();
	if (question->problem != NULL)
		return false;
	caller = MemoryContextSwitchTo(question->scratch);
	is_planned = plan_as_role(&planning) == NULL;
	(void) MemoryContextSwitchTo(caller);
	if (is_planned)
		reader(configuration, planning.plans, argument);
	MemoryContextReset(question->scratch);
	return is_planned;
}

/* What is to be known of plans. */
typedef struct Answer
{
	double		cost;
	WhatIfUse  *use;			/* NULL: it is not asked for */
} Answer;

static void
read_answer(const WhatIfConfiguration *configuration, const List *plans, void *argument)
{
	Answer	   *answer = argument;

	answer->cost = architect_whatif_plan_cost(plans);
	if (answer->use != NULL)
		architect_whatif_find_use(configuration, plans, answer->use);
}

/*
 * Returns what a question costs under a configuration, and what it uses unless that is
 * NULL; infinity where it cannot be planned.
 */
double
architect_whatif_cost(WhatIfQuestion *question, const WhatIfConfiguration *configuration, WhatIfUse *use)
{
	Answer		answer = {.cost = INFINITY, .use = use};

	(void) architect_whatif_read(question, configuration, read_answer, &answer);
	return answer.cost;
}
