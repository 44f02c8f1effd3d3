/*
 * asof_scan.c
 *    audit_as_of in FROM, row by row.
 *
 * The server puts all rows of a function in FROM aside before it shows the first.
 * A table may have many, so the planner is offered a scan that does not.  It is
 * left to the server's own way where a whole row is asked for, and that is also
 * where rows may be checked again after a concurrent change.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/executor.h"
#include "executor/execExpr.h"
#include "executor/nodeCustom.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit/replay.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_audit_as_of_support);

typedef struct AsOfScan
{
	CustomScanState css;
	SetExprState *call;			/* its arguments, ready to be evaluated */
	Oid			relid;			/* the table whose row type the first has */
	int			last_column;	/* columns up to this number are asked for */
	AuditAsOf  *as_of;			/* NULL before the first row */
} AsOfScan;

static Plan *plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *plans);
static Node *create_scan_state(CustomScan *scan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {
	.CustomName = "audit_as_of",
	.PlanCustomPath = plan_scan
};

static const CustomScanMethods scan_methods = {
	.CustomName = "audit_as_of",
	.CreateCustomScanState = create_scan_state
};

static const CustomExecMethods exec_methods = {
	.CustomName = "audit_as_of",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan
};

static set_rel_pathlist_hook_type next_set_rel_pathlist = NULL;

/*
 * The call of audit_as_of that this is, or NULL.
 */
static FuncExpr *
as_of_call(Node *expression)
{
	FuncExpr   *call = (FuncExpr *) expression;
	char	   *name;

	if (!IsA(expression, FuncExpr) || list_length(call->args) != 3 ||
		get_func_namespace(call->funcid) != architect_schema())
		return NULL;
	name = get_func_name(call->funcid);
	return name != NULL && strcmp(name, "audit_as_of") == 0 ? call : NULL;
}

/*
 * The table whose past a call shows.
 */
static Oid
table_of_call(FuncExpr *call)
{
	return get_typ_typrelid(exprType(linitial(call->args)));
}

/*
 * The columns that two lists of expressions use, by their numbers less
 * FirstLowInvalidHeapAttributeNumber.
 */
static Bitmapset *
used_columns(Index varno, List *some, List *others)
{
	Bitmapset  *used = NULL;

	pull_varattnos((Node *) some, varno, &used);
	pull_varattnos((Node *) others, varno, &used);
	return used;
}

static bool
needs_whole_row(RelOptInfo *rel, Index rti)
{
	List	   *clauses = extract_actual_clauses(rel->baserestrictinfo, false);

	return bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used_columns(rti, rel->reltarget->exprs, clauses));
}

/*
 * The highest number among them, or 0.
 */
static int
last_column(Bitmapset *used)
{
	int			last = 0;
	int			member = -1;

	while ((member = bms_next_member(used, member)) >= 0)
		last = Max(last, member + FirstLowInvalidHeapAttributeNumber);
	return last;
}

/*
 * Offers the scan for a call in FROM.
 */
static void
offer_scan(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	CustomPath *path;
	FuncExpr   *call;

	if (next_set_rel_pathlist)
		next_set_rel_pathlist(root, rel, rti, rte);

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1 || rte->funcordinality ||
		!bms_is_empty(rel->lateral_relids))
		return;
	call = as_of_call(((RangeTblFunction *) linitial(rte->functions))->funcexpr);
	if (call == NULL || !OidIsValid(table_of_call(call)) || expression_returns_set((Node *) call->args) ||
		needs_whole_row(rel, rti))
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = rel->rows;
	path->path.startup_cost = 0;
	path->path.total_cost = cpu_tuple_cost * rel->tuples;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;

	/* It does the same with less. */
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

/*
 * One entry a column of the function's result, in their order.
 */
static List *
make_scan_tlist(Index rti, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	List	   *tlist = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);
		Expr	   *expression = attribute->attisdropped ?
			(Expr *) makeNullConst(INT4OID, -1, InvalidOid) :
			(Expr *) makeVar(rti, i + 1, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0);

		tlist = lappend(tlist, makeTargetEntry(expression, i + 1, NULL, false));
	}
	relation_close(rel, NoLock);
	return tlist;
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	FuncExpr   *call = linitial(path->custom_private);

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->flags = path->flags;
	scan->custom_exprs = list_make1(call);
	scan->custom_scan_tlist = make_scan_tlist(rel->relid, table_of_call(call));
	scan->custom_relids = bms_make_singleton(rel->relid);
	scan->methods = &scan_methods;

	/* A kept plan has to be made anew when the table changes. */
	root->glob->relationOids = lappend_oid(root->glob->relationOids, table_of_call(call));
	return &scan->scan.plan;
}

static Node *
create_scan_state(CustomScan *scan)
{
	AsOfScan   *state = (AsOfScan *) newNode(sizeof(AsOfScan), T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	AsOfScan   *state = (AsOfScan *) node;
	FuncExpr   *call = linitial(((CustomScan *) node->ss.ps.plan)->custom_exprs);

	/* This is also where the right to call it is checked. */
	state->call = ExecInitTableFunctionResult((Expr *) call, node->ss.ps.ps_ExprContext, &node->ss.ps);
	state->relid = table_of_call(call);
	state->last_column = last_column(used_columns(INDEX_VAR, node->ss.ps.plan->targetlist, node->ss.ps.plan->qual));
}

/*
 * Evaluates the arguments and starts.
 */
static void
start(AsOfScan *state)
{
	ExprContext *context = state->css.ss.ps.ps_ExprContext;
	MemoryContext caller = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	NullableDatum arguments[3];
	int			i = 0;
	ListCell   *cell;

	foreach(cell, state->call->args)
	{
		arguments[i].value = ExecEvalExpr((ExprState *) lfirst(cell), context, &arguments[i].isnull);
		i++;
	}
	state->as_of = architect_audit_begin_as_of(state->relid,
											   state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor,
											   arguments[1], arguments[2]);
	MemoryContextSwitchTo(caller);
}

/*
 * Returns the next row in the node's own slot, as far as it is asked for: parents
 * count on a virtual tuple.  Values stay where they are.
 */
static TupleTableSlot *
next_row(ScanState *node)
{
	AsOfScan   *state = (AsOfScan *) node;
	TupleTableSlot *slot = ExecClearTuple(node->ss_ScanTupleSlot);
	TupleTableSlot *row;

	if (state->as_of == NULL)
		start(state);
	row = architect_audit_next_as_of(state->as_of);
	if (row == NULL)
		return slot;

	slot_getsomeattrs(row, state->last_column);
	memcpy(slot->tts_values, row->tts_values, state->last_column * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, state->last_column * sizeof(bool));
	memset(slot->tts_isnull + state->last_column, true,
		   (slot->tts_tupleDescriptor->natts - state->last_column) * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}

/*
 * A row of the past does not change under a concurrent update.
 */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
	AsOfScan   *state = (AsOfScan *) node;

	if (state->as_of != NULL)
		architect_audit_end_as_of(state->as_of);
	state->as_of = NULL;
}

static void
rescan(CustomScanState *node)
{
	end_scan(node);
	ExecScanReScan(&node->ss);
}

/*
 * architect._audit_as_of_support(): as a side effect of asking for it, the planner
 * has loaded the library before it looks for paths.
 */
Datum
architect_audit_as_of_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestRows))
	{
		SupportRequestRows *rows = (SupportRequestRows *) request;
		FuncExpr   *call = rows->node != NULL ? as_of_call(rows->node) : NULL;

		if (call != NULL && OidIsValid(table_of_call(call)))
		{
			Relation	rel = relation_open(table_of_call(call), AccessShareLock);

			rows->rows = Max(architect_audit_estimate_rows(rel), 1);
			relation_close(rel, NoLock);
			PG_RETURN_POINTER(request);
		}
	}
	PG_RETURN_POINTER(NULL);
}

void
architect_audit_as_of_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	next_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = offer_scan;
}
