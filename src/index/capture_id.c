/*
 * capture_id.c
 *    Tells statements apart: roughly from their plans, and by query id.
 *
 * PostgreSQL takes a microsecond or more for the query id of each statement, and EXPLAIN
 * (VERBOSE) shows it, so capture does not ask it to.  Where nobody else does, a statement
 * that is looked at is analyzed once more.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_param.h"
#include "parser/parser.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "core/core.h"
#include "index/capture_id.h"
#include "index/whatif.h"

/* Longer texts are not analyzed once more. */
#define MOST_ANALYZED (64 * 1024)

/* What is analyzed, and its query id. */
typedef struct Analysis
{
	const char *text;
	ParamListInfo parameters;
	int64		query_id;
} Analysis;

static void
add_part(uint64 *kind, uint64 part)
{
	*kind = hash_combine64(*kind, part);
}

static bool
add_expression(Node *node, void *kind)
{
	if (node == NULL)
		return false;
	add_part(kind, nodeTag(node));
	if (IsA(node, Var))
		add_part(kind, castNode(Var, node)->varattno);
	else if (IsA(node, OpExpr))
		add_part(kind, castNode(OpExpr, node)->opno);
	return expression_tree_walker(node, add_expression, kind);
}

static void
add_node(Plan *plan, void *kind)
{
	add_part(kind, nodeTag(plan));
	add_part(kind, list_length(plan->targetlist));
	add_expression((Node *) plan->qual, kind);
	switch (nodeTag(plan))
	{
		case T_IndexScan:
			add_expression((Node *) castNode(IndexScan, plan)->indexqualorig, kind);
			break;
		case T_IndexOnlyScan:
			add_part(kind, castNode(IndexOnlyScan, plan)->indexid);
			add_expression((Node *) castNode(IndexOnlyScan, plan)->indexqual, kind);
			break;
		case T_BitmapIndexScan:
			add_expression((Node *) castNode(BitmapIndexScan, plan)->indexqualorig, kind);
			break;
		case T_NestLoop:
			add_expression((Node *) castNode(NestLoop, plan)->join.joinqual, kind);
			break;
		case T_MergeJoin:
			add_expression((Node *) castNode(MergeJoin, plan)->mergeclauses, kind);
			break;
		case T_HashJoin:
			add_expression((Node *) castNode(HashJoin, plan)->hashclauses, kind);
			break;
		default:
			break;
	}
}

/*
 * Returns a number that most statements of another query id do not have: the id itself
 * where it is known, else what the plan reads and by which conditions.
 */
uint64
architect_capture_kind(const PlannedStmt *plan)
{
	uint64		kind = plan->commandType;
	ListCell   *cell;

	if (plan->queryId != 0)
		return plan->queryId;
	foreach(cell, plan->relationOids)
		add_part(&kind, lfirst_oid(cell));
	architect_whatif_walk(plan, add_node, &kind);
	return kind;
}

static void
set_mode(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Hooks of analysis are for statements that will be run; what it has to say has been said.
 */
static void
analyze(void *argument)
{
	Analysis   *analysis = argument;
	ParamListInfo parameters = analysis->parameters;
	int			nparameters = parameters == NULL ? 0 : parameters->numParams;
	Oid		   *types = palloc_array(Oid, nparameters);
	ParseState *state = make_parsestate(NULL);
	int			level = NewGUCNestLevel();
	RawStmt    *statement;
	Query	   *query;

	set_mode("compute_query_id", "on");
	set_mode("client_min_messages", "error");
	set_mode("log_min_messages", "error");
	statement = linitial_node(RawStmt, raw_parser(analysis->text, RAW_PARSE_DEFAULT));
	for (int i = 0; i < nparameters; i++)
		types[i] = parameters->params[i].ptype;
	state->p_sourcetext = analysis->text;
	setup_parse_fixed_parameters(state, types, nparameters);
	query = transformTopLevelStmt(state, statement);
	JumbleQuery(query);
	analysis->query_id = query->queryId;
	AtEOXact_GUC(true, level);
	free_parsestate(state);
}

/*
 * Returns the query id of a statement, of which this is the text, before it is run; 0
 * where that fails, or takes too long.
 */
int64
architect_capture_query_id(const QueryDesc *query, const char *text, int length)
{
	Analysis	analysis = {.parameters = query->params};
	MemoryContext before;
	MemoryContext own;

	if (query->plannedstmt->queryId != 0)
		return query->plannedstmt->queryId;
	if (length > MOST_ANALYZED)
		return 0;
	own = AllocSetContextCreate(CurrentMemoryContext, "architect capture", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(own);
	analysis.text = pnstrdup(text, length);
	if (architect_attempt(analyze, &analysis) != NULL)
		analysis.query_id = 0;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(own);
	return analysis.query_id;
}
