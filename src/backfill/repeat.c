/*
 * repeat.c
 *    What comes of an assignment that is made twice.
 *
 * A walk in block order may meet a row again, in a sweep or where it was moved to.  That
 * is harmless when the row has left the filter by then, or when it would get the same
 * values again.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "rewrite/rewriteHandler.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "backfill/backfill.h"
#include "backfill/expression.h"
#include "compat.h"
#include "core/core.h"

PG_FUNCTION_INFO_V1(architect_backfill_differs);

/* How a type's values are kept. */
typedef struct Storage
{
	int16		length;
	bool		by_value;
} Storage;

/*
 * architect._backfill_differs(anyelement, anyelement): of two images of values whether
 * they differ.
 */
Datum
architect_backfill_differs(PG_FUNCTION_ARGS)
{
	Storage    *storage = fcinfo->flinfo->fn_extra;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(PG_ARGISNULL(0) != PG_ARGISNULL(1));
	if (storage == NULL)
	{
		storage = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(Storage));
		get_typlenbyval(get_fn_expr_argtype(fcinfo->flinfo, 0), &storage->length, &storage->by_value);
		fcinfo->flinfo->fn_extra = storage;
	}
	PG_RETURN_BOOL(!datum_image_eq(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), storage->by_value, storage->length));
}

/*
 * True for functions that give one value throughout a transaction, and in the next
 * transaction another.
 */
static bool
tells_time(Oid function, void *context)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_TIMESTAMP:
		case F_TXID_CURRENT:
		case F_PG_CURRENT_XACT_ID:
			return true;
		default:
			return false;
	}
}

static bool
depends_on_time(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, tells_time, NULL))
		return true;
	if (IsA(node, SQLValueFunction))
		return ((SQLValueFunction *) node)->op <= SVFOP_LOCALTIMESTAMP_N;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, depends_on_time, context, 0);
	return expression_tree_walker(node, depends_on_time, context);
}

/*
 * True when the expression gives another value for the same row in another batch.
 */
static bool
is_moving(Node *expression)
{
	return contain_volatile_functions(expression) || depends_on_time(expression, NULL);
}

/*
 * True when the expression reads one of the columns that are changed, be it within the
 * whole row.
 */
static bool
reads_changed(const BackfillExpressions *what, Node *expression)
{
	Bitmapset  *read = architect_backfill_columns_of(what->rel, expression);

	return bms_overlap(read, what->changed) ||
		bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, read);
}

/*
 * Returns the new value of a column; NULL for one that is not assigned.
 */
static Node *
new_value(const BackfillExpressions *what, Node *column)
{
	ListCell   *cell;

	if (!IsA(column, Var))
		return NULL;
	foreach(cell, what->targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (target->resno == ((Var *) column)->varattno)
			return (Node *) target->expr;
	}
	return NULL;
}

/*
 * Returns the expression as it will be for the new row.
 */
static Node *
substitute(Node *node, void *context)
{
	Node	   *value;

	if (node == NULL)
		return NULL;
	value = new_value(context, node);
	if (value != NULL)
		return copyObject(value);
	return expression_tree_mutator(node, substitute, context);
}

static bool
is_arithmetic(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_NUMERIC || category == TYPCATEGORY_DATETIME ||
		category == TYPCATEGORY_TIMESPAN || category == TYPCATEGORY_BOOLEAN;
}

static bool is_never_null(Relation rel, Node *node);

static bool
are_never_null(Relation rel, List *nodes)
{
	ListCell   *cell;

	foreach(cell, nodes)
	{
		if (!is_never_null(rel, lfirst(cell)))
			return false;
	}
	return true;
}

/*
 * True for the server's own operators and casts of numbers and times.
 */
static bool
computes(Oid function, List *arguments, Oid result)
{
	ListCell   *cell;

	foreach(cell, arguments)
	{
		if (!is_arithmetic(exprType(lfirst(cell))))
			return false;
	}
	return function < FirstNormalObjectId && func_strict(function) && is_arithmetic(result);
}

/*
 * True when the expression is known to give a value for every row.
 */
static bool
is_never_null(Relation rel, Node *node)
{
	switch (nodeTag(node))
	{
		case T_Const:
			return !((Const *) node)->constisnull;
		case T_Var:
			return ((Var *) node)->varattno > 0 &&
				architect_is_never_null(RelationGetDescr(rel), ((Var *) node)->varattno);
		case T_RelabelType:
			return is_never_null(rel, (Node *) ((RelabelType *) node)->arg);
		case T_CoalesceExpr:
			return is_never_null(rel, llast(((CoalesceExpr *) node)->args));
		case T_BoolExpr:
			return are_never_null(rel, ((BoolExpr *) node)->args);
		case T_OpExpr:
			{
				OpExpr	   *op = (OpExpr *) node;

				return computes(get_opcode(op->opno), op->args, op->opresulttype) && are_never_null(rel, op->args);
			}
		case T_FuncExpr:
			{
				FuncExpr   *call = (FuncExpr *) node;

				if (call->funcid == F_NOW || call->funcid == F_CLOCK_TIMESTAMP || call->funcid == F_GEN_RANDOM_UUID)
					return true;
				return call->funcformat != COERCE_EXPLICIT_CALL &&
					computes(call->funcid, list_make1(linitial(call->args)), call->funcresulttype) &&
					are_never_null(rel, call->args);
			}
		case T_NullTest:
		case T_BooleanTest:
		case T_DistinctExpr:
		case T_SQLValueFunction:
			return true;
		default:
			return false;
	}
}

static bool
is_simple(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return IsA(node, Var) || IsA(node, Const) || IsA(node, ArrayExpr);
}

/*
 * True for a condition whose value for constants can be found without an error.
 */
static bool
is_simple_condition(Node *node)
{
	List	   *arguments;
	ListCell   *cell;

	switch (nodeTag(node))
	{
		case T_BoolExpr:
			arguments = ((BoolExpr *) node)->boolop == NOT_EXPR ? ((BoolExpr *) node)->args : NIL;
			break;
		case T_OpExpr:
		case T_DistinctExpr:
			arguments = ((OpExpr *) node)->args;
			break;
		case T_ScalarArrayOpExpr:
			arguments = ((ScalarArrayOpExpr *) node)->args;
			break;
		case T_NullTest:
			arguments = list_make1(((NullTest *) node)->arg);
			break;
		case T_BooleanTest:
			arguments = list_make1(((BooleanTest *) node)->arg);
			break;
		default:
			return IsA(node, Var);
	}
	foreach(cell, arguments)
	{
		if (!is_simple(lfirst(cell)))
			return false;
	}
	return arguments != NIL;
}

/*
 * True when the condition asks for two values to differ.
 */
static bool
asks_for_difference(Node *node)
{
	if (IsA(node, DistinctExpr))
		return true;
	if (IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2)
	{
		Oid			negator = get_negator(((OpExpr *) node)->opno);

		return OidIsValid(negator) && op_mergejoinable(negator, exprType(linitial(((OpExpr *) node)->args)));
	}
	return false;
}

static bool
is_of_a_user(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

/*
 * True where finding the value of an expression of constants calls a function that may
 * do anything, with rights that the job itself will not have.
 */
static bool
calls_with_more_rights(Node *node, void *context)
{
	if (node == NULL || !superuser())
		return false;
	if (check_functions_in_node(node, is_of_a_user, NULL))
		return true;
	return expression_tree_walker(node, calls_with_more_rights, context);
}

/*
 * True when the condition, which is no AND and no OR, is known not to hold for the new
 * row.
 */
static bool
ends_with_new_values(const BackfillExpressions *what, Node *node, bool trusting)
{
	Node	   *after;

	if (!reads_changed(what, node) || contain_subplans(node))
		return false;
	if (IsA(node, NullTest) && ((NullTest *) node)->nulltesttype == IS_NULL && !((NullTest *) node)->argisrow)
	{
		Node	   *value = new_value(what, (Node *) ((NullTest *) node)->arg);

		return value != NULL && (trusting || is_never_null(what->rel, value));
	}

	after = substitute(node, unconstify(BackfillExpressions *, what));
	if (contain_mutable_functions(after) || contain_subplans(after))
		return false;
	if (asks_for_difference(after) &&
		equal(linitial(((OpExpr *) after)->args), lsecond(((OpExpr *) after)->args)))
		return true;
	if (is_simple_condition(node) && !contain_var_clause(after) && !calls_with_more_rights(after, NULL))
	{
		after = eval_const_expressions(NULL, after);
		return IsA(after, Const) && (((Const *) after)->constisnull || !DatumGetBool(((Const *) after)->constvalue));
	}
	return false;
}

/*
 * True when a row that got its new values is known not to match the condition any more.
 * Trusting: a column that was NULL is taken to get a value.
 */
static bool
leaves(const BackfillExpressions *what, Node *node, bool trusting)
{
	BoolExpr   *bool_expr = (BoolExpr *) node;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, BoolExpr) || bool_expr->boolop == NOT_EXPR)
		return ends_with_new_values(what, node, trusting);
	foreach(cell, bool_expr->args)
	{
		if (leaves(what, lfirst(cell), trusting) == (bool_expr->boolop == AND_EXPR))
			return bool_expr->boolop == AND_EXPR;
	}
	return bool_expr->boolop == OR_EXPR;
}

/*
 * True when a value gives something else in each batch.
 */
static bool
has_moving_values(const BackfillExpressions *what)
{
	ListCell   *cell;

	foreach(cell, what->targets)
	{
		if (is_moving((Node *) lfirst_node(TargetEntry, cell)->expr))
			return true;
	}
	return false;
}

/*
 * True when a value is made from what the assignment changes.
 */
static bool
has_values_from_changed(const BackfillExpressions *what)
{
	ListCell   *cell;

	foreach(cell, what->targets)
	{
		if (reads_changed(what, (Node *) lfirst_node(TargetEntry, cell)->expr))
			return true;
	}
	return false;
}

/*
 * True when rows done leave the filter, as far as it reads what is assigned.
 */
bool
architect_backfill_closes(const BackfillExpressions *what)
{
	return what->condition != NULL && reads_changed(what, what->condition);
}

/*
 * True when the assignment can be made twice.  One that reads what it changes, or that
 * gives something else each time, can only if the filter is known to keep its rows from
 * it.
 */
bool
architect_backfill_is_repeatable(const BackfillExpressions *what)
{
	if (what->condition != NULL && contain_volatile_functions(what->condition))
		return false;
	if (has_values_from_changed(what))
		return leaves(what, what->condition, false);
	return !has_moving_values(what) || leaves(what, what->condition, true);
}

/*
 * Makes what the server did to give a value its column's type visible in a text.  The
 * coercion to a length is made a function call: as a cast it would cut the value off
 * instead of refusing it.
 */
static Node *
expose_coercion(Node *value)
{
	Node	   *node = value;

	while (IsA(node, CoerceToDomain))
		node = (Node *) ((CoerceToDomain *) node)->arg;
	if (IsA(node, FuncExpr) && exprIsLengthCoercion(node, NULL) &&
		((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST)
		((FuncExpr *) node)->funcformat = COERCE_EXPLICIT_CALL;
	else if (IsA(node, RowExpr) && ((RowExpr *) node)->row_typeid != RECORDOID)
		((RowExpr *) node)->row_format = COERCE_EXPLICIT_CAST;
	return value;
}

/*
 * Returns the expression that is true for a row which the assignment would change; NULL
 * where values that are computed once more would be others.
 */
Node *
architect_backfill_guard(const BackfillExpressions *what)
{
	Oid			types[] = {ANYELEMENTOID, ANYELEMENTOID};
	List	   *name = list_make2(makeString(pstrdup(ARCHITECT_SCHEMA)), makeString(pstrdup("_backfill_differs")));
	Oid			differs = LookupFuncName(name, lengthof(types), types, false);
	List	   *result = NIL;
	ListCell   *cell;

	if (has_moving_values(what) || has_values_from_changed(what))
		return NULL;
	foreach(cell, what->targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(what->rel), target->resno - 1);
		Var		   *old = makeVar(BACKFILL_VARNO, target->resno, attribute->atttypid, attribute->atttypmod,
								  attribute->attcollation, 0);

		Node	   *new = expose_coercion(copyObject((Node *) target->expr));

		result = lappend(result, makeFuncExpr(differs, BOOLOID, list_make2(old, new), InvalidOid, InvalidOid,
											  COERCE_EXPLICIT_CALL));
	}
	return list_length(result) == 1 ? linitial(result) : (Node *) make_orclause(result);
}
