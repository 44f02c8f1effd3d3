/*
 * canonical.c
 *    An expression that the server's deparser can write so that it means the same under
 *    any search_path, and for any partition.
 *
 * Some constructs have an operator in them that their text does not name: IS DISTINCT
 * FROM, NULLIF, CASE with a value.  Where it is not the server's own, as with citext, it
 * would not be found again, or another one would.  They are spelled out.
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "backfill/backfill.h"
#include "backfill/expression.h"

typedef struct Rewriting
{
	int			depth;			/* sub-selects around the node at hand */
	Oid			row_type;		/* of the target */
} Rewriting;

static Node *rewrite(Node *node, void *context);

static Oid
schema_of_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Oid			schema;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	schema = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace;
	ReleaseSysCache(tuple);
	return schema;
}

/*
 * True when the operator would not be found by its bare name.
 */
static bool
needs_name(Oid operator)
{
	return schema_of_operator(operator) != PG_CATALOG_NAMESPACE;
}

static Node *
make_null_test(Node *argument, NullTestType type)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) copyObject(argument);
	test->nulltesttype = type;
	test->location = -1;
	return (Node *) test;
}

static CaseWhen *
make_when(Node *condition, Node *result)
{
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = (Expr *) condition;
	when->result = (Expr *) result;
	when->location = -1;
	return when;
}

static Node *
make_case(List *whens, Node *otherwise, Oid type, Oid collation)
{
	CaseExpr   *result = makeNode(CaseExpr);

	result->casetype = type;
	result->casecollid = collation;
	result->args = whens;
	result->defresult = (Expr *) otherwise;
	result->location = -1;
	return (Node *) result;
}

/*
 * Returns the comparison that is hidden in the node, which has the fields of an operator.
 */
static Node *
make_comparison(const OpExpr *node)
{
	OpExpr	   *comparison = makeNode(OpExpr);

	comparison->opno = node->opno;
	comparison->opfuncid = node->opfuncid;
	comparison->opresulttype = BOOLOID;
	comparison->inputcollid = node->inputcollid;
	comparison->args = copyObject(node->args);
	comparison->location = -1;
	return (Node *) comparison;
}

static Node *
spell_distinct(const DistinctExpr *node)
{
	Node	   *left = linitial(node->args);
	Node	   *right = lsecond(node->args);

	return make_case(list_make2(make_when(make_null_test(left, IS_NULL), make_null_test(right, IS_NOT_NULL)),
								make_when(make_null_test(right, IS_NULL), makeBoolConst(true, false))),
					 (Node *) make_notclause((Expr *) make_comparison((const OpExpr *) node)), BOOLOID, InvalidOid);
}

static Node *
spell_nullif(const NullIfExpr *node)
{
	Node	   *value = linitial(node->args);
	Oid			type = exprType(value);
	Oid			collation = exprCollation(value);

	return make_case(list_make1(make_when(make_comparison((const OpExpr *) node),
										  (Node *) makeNullConst(type, exprTypmod(value), collation))),
					 copyObject(value), type, collation);
}

static Node *
fill_in_value(Node *node, void *value)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, CaseTestExpr))
		return copyObject(value);
	return expression_tree_mutator(node, fill_in_value, value);
}

static Node *
spell_case(const CaseExpr *node)
{
	CaseExpr   *result = copyObject(unconstify(CaseExpr *, node));
	ListCell   *cell;

	foreach(cell, result->args)
	{
		OpExpr	   *comparison = castNode(OpExpr, lfirst_node(CaseWhen, cell)->expr);

		linitial(comparison->args) = fill_in_value(linitial(comparison->args), node->arg);
	}
	result->arg = NULL;
	return (Node *) result;
}

/*
 * True when CASE compares its value by an operator that must be named, and may be
 * spelled out.
 */
static bool
compares_by_named_operator(const CaseExpr *node)
{
	bool		found = false;
	ListCell   *cell;

	if (node->arg == NULL)
		return false;
	foreach(cell, node->args)
	{
		Expr	   *comparison = lfirst_node(CaseWhen, cell)->expr;

		if (!IsA(comparison, OpExpr))
			return false;
		found |= needs_name(((OpExpr *) comparison)->opno);
	}
	return found;
}

/*
 * Returns the construct spelled out where its operator must be named; NULL where not, or
 * where computing a value twice would not do.
 */
static Node *
spell_out(Node *node)
{
	OpExpr	   *operator = (OpExpr *) node;

	if ((IsA(node, DistinctExpr) || IsA(node, NullIfExpr)) && needs_name(operator->opno) &&
		!type_is_rowtype(exprType(linitial(operator->args))) && !contain_volatile_functions((Node *) operator->args))
		return IsA(node, DistinctExpr) ? spell_distinct((DistinctExpr *) node) : spell_nullif((NullIfExpr *) node);
	if (IsA(node, CaseExpr) && compares_by_named_operator((CaseExpr *) node) &&
		!contain_volatile_functions((Node *) ((CaseExpr *) node)->arg))
		return spell_case((CaseExpr *) node);
	return NULL;
}

/*
 * Raises where one operator name stands for operators of several schemas.
 */
static void
check_row_comparison(const RowCompareExpr *node)
{
	ListCell   *cell;

	foreach(cell, node->opnos)
	{
		if (schema_of_operator(lfirst_oid(cell)) != schema_of_operator(linitial_oid(node->opnos)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("rows cannot be compared by operators of several schemas in a backfill"),
					 errhint("Compare the columns one by one.")));
	}
}

/*
 * Makes a whole row one of the type of the target, as it would otherwise be one of the
 * partition's where the text is used for a partition.
 */
static Node *
cast_row(const Var *var, Oid type)
{
	ConvertRowtypeExpr *row = makeNode(ConvertRowtypeExpr);

	row->arg = (Expr *) copyObject(unconstify(Var *, var));
	row->resulttype = type;
	row->convertformat = COERCE_EXPLICIT_CAST;
	row->location = -1;
	return (Node *) row;
}

static Node *
rewrite(Node *node, void *context)
{
	Rewriting  *rewriting = context;
	Node	   *spelled;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varattno == InvalidAttrNumber && var->varno == BACKFILL_VARNO &&
			var->varlevelsup == rewriting->depth)
			return cast_row(var, rewriting->row_type);
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		rewriting->depth++;
		query = query_tree_mutator((Query *) node, rewrite, rewriting, 0);
		rewriting->depth--;
		return (Node *) query;
	}
	if (IsA(node, RowCompareExpr))
		check_row_comparison((RowCompareExpr *) node);

	spelled = spell_out(node);
	return expression_tree_mutator(spelled != NULL ? spelled : node, rewrite, rewriting);
}

/*
 * Returns the expression over the relation in a form that can be written.
 */
Node *
architect_backfill_canonical(Relation rel, Node *expression)
{
	Rewriting	rewriting = {0, RelationGetForm(rel)->reltype};

	return rewrite(expression, &rewriting);
}
