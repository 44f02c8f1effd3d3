/*
 * outcome.c
 *    What a policy's expression can come to for a row of another tenant.
 *
 * The expression is walked with sets of what each part of it may be, as the tenant
 * asking is another one, is not set, or is the empty string.  Nothing is ever
 * executed: the expression is another user's, and whoever reads the findings must
 * not run that user's functions.  A function of the user's that is given the row's
 * tenant is trusted to test it; of any other part that is not understood, anything
 * is possible.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "tenant/expression.h"

/* Further values, of expressions that are not boolean; none of these is NULL. */
#define VALUE_EMPTY		0x0008	/* the empty string */
#define VALUE_FIXED		0x0010	/* written in the policy */
#define VALUE_SESSION	0x0020	/* of the session: its tenant, role, time, … */
#define VALUE_TENANT	0x0040	/* the row's tenant */
#define VALUE_DERIVED	0x0080	/* made from the row's tenant */
#define VALUE_OTHER		0x0100	/* of the row's other columns, or not understood */
#define LAST_VALUE		VALUE_OTHER

#define TRUE_OR_FALSE	(OUTCOME_TRUE | OUTCOME_FALSE)
#define ANY_BOOLEAN		(TRUE_OR_FALSE | OUTCOME_NULL)
#define OF_TENANT		(VALUE_TENANT | VALUE_DERIVED)
#define OF_ROW			(OF_TENANT | VALUE_OTHER)

typedef struct Walk
{
	const TenantSubject *subject;
	TenantScenario scenario;
	int			depth;			/* sub-selects around the node at hand */
	int			case_value;		/* what CASE compares with */
	bool		compares;		/* the row's tenant with something outside the row */
} Walk;

typedef enum Comparison
{
	COMPARES_EQUAL,
	COMPARES_UNEQUAL,
	COMPARES_ORDER,
	COMPARES_OTHERWISE
} Comparison;

typedef struct Search
{
	const TenantSubject *subject;
	int			depth;
} Search;

static int	outcome_of(Node *node, Walk *walk);

/*
 * True when the node is the row's tenant, or the row with its tenant in it.
 */
static bool
is_tenant(Node *node, const TenantSubject *subject, int depth)
{
	Var		   *var = (Var *) node;

	return IsA(node, Var) && var->varlevelsup == depth &&
		(var->varattno == subject->attnum || var->varattno == InvalidAttrNumber);
}

static bool
find_tenant(Node *node, void *context)
{
	Search	   *search = context;
	bool		found;

	if (node == NULL)
		return false;
	if (is_tenant(node, search->subject, search->depth))
		return true;
	if (!IsA(node, Query))
		return expression_tree_walker(node, find_tenant, search);

	search->depth++;
	found = query_tree_walker((Query *) node, find_tenant, search, 0);
	search->depth--;
	return found;
}

/*
 * True when the tenant of the row is anywhere in the expression, which stands in
 * that many sub-selects.
 */
bool
architect_tenant_is_mentioned(Node *expression, const TenantSubject *subject, int depth)
{
	Search		search = {.subject = subject, .depth = depth};

	return find_tenant(expression, &search);
}

static bool
is_string(Oid type)
{
	return TypeCategory(type) == TYPCATEGORY_STRING || type == UNKNOWNOID;
}

/*
 * What the values are after a cast to the type.  An empty string is an error for
 * every type but the strings.
 */
static int
cast_to(int values, Oid type)
{
	if (getBaseType(type) == BOOLOID)
		return (values & ANY_BOOLEAN) |
			((values & ~(ANY_BOOLEAN | VALUE_EMPTY)) != 0 ? TRUE_OR_FALSE : 0);
	if ((values & VALUE_EMPTY) != 0 && !is_string(type))
		values &= ~VALUE_EMPTY;
	if ((values & TRUE_OR_FALSE) != 0)
		values = (values & ~TRUE_OR_FALSE) | VALUE_FIXED;
	return values;
}

static int
outcome_of_const(Const *constant)
{
	if (constant->constisnull)
		return OUTCOME_NULL;
	if (getBaseType(constant->consttype) == BOOLOID)
		return DatumGetBool(constant->constvalue) ? OUTCOME_TRUE : OUTCOME_FALSE;
	if (constant->constlen == -1 && is_string(constant->consttype) &&
		VARSIZE_ANY_EXHDR(DatumGetPointer(constant->constvalue)) == 0)
		return VALUE_EMPTY;
	return VALUE_FIXED;
}

static int
outcome_of_var(Var *var, Walk *walk)
{
	if (is_tenant((Node *) var, walk->subject, walk->depth))
		return var->varattno == InvalidAttrNumber ? VALUE_DERIVED : VALUE_TENANT;
	return cast_to(VALUE_OTHER, var->vartype) | OUTCOME_NULL;
}

/*
 * What a node can be of which nothing is known but its type.
 */
static int
unknown_of(Node *node)
{
	return cast_to(VALUE_OTHER, exprType(node)) | OUTCOME_NULL;
}

/*
 * Whether two values are equal.  Another tenant is never the row's, whoever says it.
 */
static int
equal_values(int left, int right, Walk *walk)
{
	int			both = left | right;

	if ((both & OUTCOME_NULL) != 0)
		return OUTCOME_NULL;
	if ((both & ~TRUE_OR_FALSE) == 0)
		return left == right ? OUTCOME_TRUE : OUTCOME_FALSE;
	if (both == VALUE_TENANT || both == VALUE_EMPTY)
		return OUTCOME_TRUE;
	if ((both & VALUE_TENANT) != 0 && (both & (VALUE_SESSION | VALUE_FIXED | VALUE_EMPTY)) != 0)
	{
		walk->compares = true;
		return OUTCOME_FALSE;
	}
	if ((both & VALUE_DERIVED) != 0 && (both & VALUE_SESSION) != 0)
	{
		walk->compares = true;
		return OUTCOME_FALSE;
	}
	if ((both & VALUE_EMPTY) != 0 && (both & (VALUE_SESSION | VALUE_FIXED)) != 0)
		return OUTCOME_FALSE;
	return TRUE_OR_FALSE;
}

static int
equal_sets(int left, int right, Walk *walk)
{
	int			result = 0;

	for (int one = 1; one <= LAST_VALUE; one <<= 1)
	{
		for (int other = 1; other <= LAST_VALUE; other <<= 1)
		{
			if ((left & one) != 0 && (right & other) != 0)
				result |= equal_values(one, other, walk);
		}
	}
	return result;
}

/*
 * Whether two nodes are equal.  Of two constants that can be told by their bytes;
 * values with other bytes may yet be equal unless the type is one of these.
 */
static int
equal_nodes(Node *left, Node *right, Walk *walk)
{
	int			result = equal_sets(outcome_of(left, walk), outcome_of(right, walk), walk);
	Const	   *one = (Const *) left;
	Const	   *other = (Const *) right;

	if (result != TRUE_OR_FALSE || !IsA(left, Const) || !IsA(right, Const) ||
		one->consttype != other->consttype)
		return result;
	if (datumIsEqual(one->constvalue, other->constvalue, one->constbyval, one->constlen))
		return OUTCOME_TRUE;
	if (one->consttype == INT4OID || one->consttype == INT8OID || one->consttype == TEXTOID ||
		one->consttype == UUIDOID)
		return OUTCOME_FALSE;
	return result;
}

static int
negate(int outcome)
{
	return (outcome & OUTCOME_NULL) |
		((outcome & OUTCOME_TRUE) != 0 ? OUTCOME_FALSE : 0) |
		((outcome & OUTCOME_FALSE) != 0 ? OUTCOME_TRUE : 0);
}

static Comparison
comparison_of(Oid operator, Oid type)
{
	Oid			negator;

	if (op_hashjoinable(operator, type) || op_mergejoinable(operator, type))
		return COMPARES_EQUAL;
	negator = get_negator(operator);
	if (OidIsValid(negator) && (op_hashjoinable(negator, type) || op_mergejoinable(negator, type)))
		return COMPARES_UNEQUAL;

	switch (get_oprrest(operator))
	{
		case F_SCALARLTSEL:
		case F_SCALARLESEL:
		case F_SCALARGTSEL:
		case F_SCALARGESEL:
			return COMPARES_ORDER;
		default:
			return COMPARES_OTHERWISE;
	}
}

/*
 * What a function gives that sees nothing of the row.  One of the user's is taken
 * to say who asks, and to know nothing as long as nobody has.
 */
static int
outcome_outside_row(Oid function, int arguments, Oid type, Walk *walk)
{
	bool		is_boolean = getBaseType(type) == BOOLOID;

	if (function >= FirstNormalObjectId)
	{
		if (walk->scenario == TENANT_OTHER)
			return is_boolean ? TRUE_OR_FALSE : VALUE_SESSION;
		return is_boolean ? OUTCOME_FALSE | OUTCOME_NULL : OUTCOME_NULL;
	}
	if (is_boolean)
		return TRUE_OR_FALSE;
	if ((arguments & VALUE_EMPTY) != 0 && is_string(type))
		return VALUE_EMPTY | VALUE_SESSION;
	if ((arguments & ~VALUE_FIXED) == 0 && func_volatile(function) == PROVOLATILE_IMMUTABLE)
		return VALUE_FIXED;
	return VALUE_SESSION;
}

/*
 * What a function gives for these arguments.  A test of the row's tenant against
 * the session, and every test of the user's own that is given the row's tenant, is
 * taken to say no for another one.
 */
static int
outcome_of_call(Oid function, List *nodes, Oid type, bool is_order, Walk *walk)
{
	bool		is_strict = func_strict(function);
	int			arguments = 0;
	int			result;
	ListCell   *cell;

	foreach(cell, nodes)
	{
		int			argument = outcome_of(lfirst(cell), walk);

		if (argument == 0)
			return 0;
		if (is_strict && argument == OUTCOME_NULL)
			return OUTCOME_NULL;
		arguments |= argument;
	}

	result = is_strict ? arguments & OUTCOME_NULL : 0;
	if ((arguments & OF_ROW) == 0)
		return result | outcome_outside_row(function, arguments, type, walk);
	if (getBaseType(type) != BOOLOID)
		return (arguments & OF_TENANT) != 0 ? VALUE_DERIVED : VALUE_OTHER | OUTCOME_NULL;
	if (!is_order && (arguments & OF_TENANT) != 0 &&
		(function >= FirstNormalObjectId || (arguments & VALUE_SESSION) != 0))
	{
		walk->compares = true;
		return result | OUTCOME_FALSE;
	}
	return result | TRUE_OR_FALSE | ((arguments & VALUE_OTHER) != 0 ? OUTCOME_NULL : 0);
}

/*
 * current_setting: without its second argument it fails for a setting that nobody
 * has made.  The server's own settings are always there.
 */
static int
outcome_of_setting(FuncExpr *call, Walk *walk)
{
	Node	   *name = linitial(call->args);
	Node	   *missing_ok = list_length(call->args) > 1 ? lsecond(call->args) : NULL;

	if (walk->scenario == TENANT_OTHER)
		return VALUE_SESSION;
	if (IsA(name, Const) && !((Const *) name)->constisnull &&
		strchr(TextDatumGetCString(((Const *) name)->constvalue), '.') == NULL)
		return VALUE_SESSION;
	if (walk->scenario == TENANT_EMPTY)
		return VALUE_EMPTY;
	if (missing_ok == NULL || outcome_of(missing_ok, walk) == OUTCOME_FALSE)
		return 0;
	return OUTCOME_NULL;
}

/*
 * Our own functions: the accessors are NULL without a tenant, and the crossing is a
 * right of its own, which is logged.
 */
static bool
is_ours(FuncExpr *call, Walk *walk, int *outcome)
{
	const char *name;

	if (call->funcid < FirstNormalObjectId || get_func_namespace(call->funcid) != walk->subject->schema)
		return false;
	name = get_func_name(call->funcid);
	if (strcmp(name, "tenant_crossing") == 0)
		*outcome = OUTCOME_FALSE;
	else
		*outcome = walk->scenario == TENANT_OTHER ? VALUE_SESSION : OUTCOME_NULL;
	return call->args == NIL;
}

static int
outcome_of_function(FuncExpr *call, Walk *walk)
{
	int			outcome;

	if (call->funcid == F_CURRENT_SETTING_TEXT || call->funcid == F_CURRENT_SETTING_TEXT_BOOL)
		return outcome_of_setting(call, walk);
	if (is_ours(call, walk, &outcome))
		return outcome;
	if ((call->funcformat == COERCE_EXPLICIT_CAST || call->funcformat == COERCE_IMPLICIT_CAST) &&
		call->args != NIL)
		return cast_to(outcome_of(linitial(call->args), walk), call->funcresulttype);
	return outcome_of_call(call->funcid, call->args, call->funcresulttype, false, walk);
}

static int
outcome_of_operator(OpExpr *operation, Walk *walk)
{
	Comparison	comparison = COMPARES_OTHERWISE;

	if (list_length(operation->args) == 2)
		comparison = comparison_of(operation->opno, exprType(linitial(operation->args)));

	if (comparison == COMPARES_EQUAL)
		return equal_nodes(linitial(operation->args), lsecond(operation->args), walk);
	if (comparison == COMPARES_UNEQUAL)
		return negate(equal_nodes(linitial(operation->args), lsecond(operation->args), walk));
	return outcome_of_call(get_opcode(operation->opno), operation->args, operation->opresulttype,
						   comparison == COMPARES_ORDER, walk);
}

/*
 * IS DISTINCT FROM, for which NULL is a value like others.
 */
static int
outcome_of_distinct(DistinctExpr *operation, Walk *walk)
{
	int			left = outcome_of(linitial(operation->args), walk);
	int			right = outcome_of(lsecond(operation->args), walk);
	int			result;

	if (left == 0 || right == 0)
		return 0;
	result = negate(equal_nodes(linitial(operation->args), lsecond(operation->args), walk)) & TRUE_OR_FALSE;
	if ((left & right & OUTCOME_NULL) != 0)
		result |= OUTCOME_FALSE;
	if (((left & OUTCOME_NULL) != 0 && (right & ~OUTCOME_NULL) != 0) ||
		((right & OUTCOME_NULL) != 0 && (left & ~OUTCOME_NULL) != 0))
		result |= OUTCOME_TRUE;
	return result;
}

static int
outcome_of_nullif(NullIfExpr *operation, Walk *walk)
{
	int			left = outcome_of(linitial(operation->args), walk);
	int			equal = equal_nodes(linitial(operation->args), lsecond(operation->args), walk);
	int			result = 0;

	if ((equal & OUTCOME_TRUE) != 0)
		result |= OUTCOME_NULL;
	if (equal == OUTCOME_TRUE)
		return result;

	/* What is equal to '' has become NULL. */
	if (outcome_of(lsecond(operation->args), walk) == VALUE_EMPTY)
		left &= ~VALUE_EMPTY;
	return result | left;
}

/*
 * value = ANY (array) and the like, by the array's elements where they are listed.
 */
static int
outcome_of_array_test(ScalarArrayOpExpr *operation, Walk *walk)
{
	Node	   *left = linitial(operation->args);
	Node	   *right = lsecond(operation->args);
	Comparison	comparison = comparison_of(operation->opno, exprType(left));
	int			elements = 0;
	int			result;

	if (IsA(right, ArrayExpr) && ((ArrayExpr *) right)->elements != NIL)
	{
		ListCell   *cell;

		foreach(cell, ((ArrayExpr *) right)->elements)
			elements |= outcome_of(lfirst(cell), walk);
	}
	else
		elements = outcome_of(right, walk);

	if (elements == 0 || elements == OUTCOME_NULL)
		return elements;
	if (comparison != COMPARES_EQUAL && comparison != COMPARES_UNEQUAL)
		return ANY_BOOLEAN;
	result = equal_sets(outcome_of(left, walk), elements, walk);
	if (comparison == COMPARES_UNEQUAL)
		result = negate(result);
	if (!IsA(right, ArrayExpr) && !IsA(right, Const))
		result |= operation->useOr ? OUTCOME_FALSE : OUTCOME_TRUE;
	return result;
}

static int
outcome_of_not(Node *node, Walk *walk)
{
	/* That nothing is found in another table says nothing about the tenant. */
	if (IsA(node, SubLink))
		return outcome_of(node, walk) == 0 ? 0 : ANY_BOOLEAN;
	return negate(outcome_of(node, walk));
}

/*
 * AND and OR: what each pair of outcomes makes.  Where a part fails, only what was
 * decided by those before it remains.
 */
static int
outcome_of_boolean(BoolExpr *expression, Walk *walk)
{
	int			decisive = expression->boolop == AND_EXPR ? OUTCOME_FALSE : OUTCOME_TRUE;
	int			neutral = negate(decisive);
	int			result = neutral;
	ListCell   *cell;

	if (expression->boolop == NOT_EXPR)
		return outcome_of_not(linitial(expression->args), walk);

	foreach(cell, expression->args)
	{
		int			other = outcome_of(lfirst(cell), walk);
		int			both = (result | other) & decisive;

		if (other == 0)
			return result & decisive;
		if (((result & OUTCOME_NULL) != 0 && (other & ~decisive) != 0) ||
			((other & OUTCOME_NULL) != 0 && (result & ~decisive) != 0))
			both |= OUTCOME_NULL;
		if ((result & other & neutral) != 0)
			both |= neutral;
		result = result == decisive || other == decisive ? decisive : both;
	}
	return result;
}

static int
outcome_of_coalesce(List *nodes, Walk *walk)
{
	int			result = 0;
	ListCell   *cell;

	foreach(cell, nodes)
	{
		int			value = outcome_of(lfirst(cell), walk);

		if (value == 0)
			return result;
		result |= value & ~OUTCOME_NULL;
		if ((value & OUTCOME_NULL) == 0)
			return result;
	}
	return result | OUTCOME_NULL;
}

static int
outcome_of_case(CaseExpr *expression, Walk *walk)
{
	int			saved = walk->case_value;
	int			result = 0;
	ListCell   *cell;

	if (expression->arg != NULL)
		walk->case_value = outcome_of((Node *) expression->arg, walk);
	foreach(cell, expression->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, cell);
		int			condition = outcome_of((Node *) when->expr, walk);

		if ((condition & OUTCOME_TRUE) != 0)
			result |= outcome_of((Node *) when->result, walk);
		if ((condition & ~OUTCOME_TRUE) == 0)
			break;
	}
	walk->case_value = saved;
	if (cell != NULL)
		return result;
	return result |
		(expression->defresult != NULL ? outcome_of((Node *) expression->defresult, walk) : OUTCOME_NULL);
}

static int
outcome_of_null_test(NullTest *test, Walk *walk)
{
	int			value = outcome_of((Node *) test->arg, walk);
	int			result = 0;

	if ((value & OUTCOME_NULL) != 0)
		result |= OUTCOME_TRUE;
	if ((value & ~OUTCOME_NULL) != 0)
		result |= OUTCOME_FALSE;
	return test->nulltesttype == IS_NULL ? result : negate(result);
}

static int
outcome_of_boolean_test(BooleanTest *test, Walk *walk)
{
	static const int yes[] = {
		[IS_TRUE] = OUTCOME_TRUE,
		[IS_NOT_TRUE] = OUTCOME_FALSE | OUTCOME_NULL,
		[IS_FALSE] = OUTCOME_FALSE,
		[IS_NOT_FALSE] = OUTCOME_TRUE | OUTCOME_NULL,
		[IS_UNKNOWN] = OUTCOME_NULL,
		[IS_NOT_UNKNOWN] = TRUE_OR_FALSE
	};
	int			value = outcome_of((Node *) test->arg, walk);

	return ((value & yes[test->booltesttype]) != 0 ? OUTCOME_TRUE : 0) |
		((value & ~yes[test->booltesttype]) != 0 ? OUTCOME_FALSE : 0);
}

/*
 * True for (SELECT expression) and nothing else.
 */
static bool
is_wrapper(Query *query)
{
	return query->commandType == CMD_SELECT && query->rtable == NIL && query->cteList == NIL &&
		query->jointree->fromlist == NIL && query->jointree->quals == NULL &&
		query->havingQual == NULL && query->limitCount == NULL && query->limitOffset == NULL &&
		query->setOperations == NULL && !query->hasTargetSRFs && !query->hasAggs;
}

/*
 * A sub-select that looks up the row's tenant is taken to find nothing for another
 * one; any other may find what it likes.
 */
static int
outcome_of_sublink(SubLink *link, Walk *walk)
{
	Query	   *query = castNode(Query, link->subselect);
	bool		is_tenants = architect_tenant_is_mentioned((Node *) link, walk->subject, walk->depth);
	int			result;

	if (link->subLinkType == EXPR_SUBLINK && is_wrapper(query))
	{
		TargetEntry *entry = linitial_node(TargetEntry, query->targetList);

		walk->depth++;
		result = outcome_of((Node *) entry->expr, walk);
		walk->depth--;
		return result;
	}

	if (getBaseType(exprType((Node *) link)) == BOOLOID)
	{
		if (!is_tenants || link->subLinkType == ALL_SUBLINK || link->subLinkType == ROWCOMPARE_SUBLINK)
			return ANY_BOOLEAN;
		walk->compares = true;
		return OUTCOME_FALSE | OUTCOME_NULL;
	}
	if (is_tenants)
		return VALUE_DERIVED;
	return walk->scenario == TENANT_OTHER ? VALUE_SESSION : OUTCOME_NULL;
}

static int
outcome_of_field(FieldSelect *field, Walk *walk)
{
	Node	   *row = (Node *) field->arg;

	if (is_tenant(row, walk->subject, walk->depth) && ((Var *) row)->varattno == InvalidAttrNumber)
	{
		if (field->fieldnum == walk->subject->attnum)
			return VALUE_TENANT;
		return cast_to(VALUE_OTHER, field->resulttype) | OUTCOME_NULL;
	}
	return cast_to(outcome_of(row, walk), field->resulttype);
}

/*
 * What is made of several values, none of which is looked into.
 */
static int
outcome_of_parts(Node *node, List *parts, Walk *walk)
{
	int			result = 0;
	ListCell   *cell;

	foreach(cell, parts)
	{
		int			part = outcome_of(lfirst(cell), walk);

		if (part == 0)
			return 0;
		result |= part;
	}
	if ((result & OF_TENANT) != 0)
		return VALUE_DERIVED;
	if ((result & VALUE_OTHER) != 0)
		return unknown_of(node);
	if ((result & VALUE_SESSION) != 0)
		return VALUE_SESSION;
	return result & ~OUTCOME_NULL ? VALUE_FIXED : result;
}

/*
 * Casts and the like, which leave the value what it is; false for other nodes.
 */
static bool
is_cast(Node *node, Node **argument)
{
	switch (nodeTag(node))
	{
		case T_RelabelType:
			*argument = (Node *) ((RelabelType *) node)->arg;
			return true;
		case T_CoerceViaIO:
			*argument = (Node *) ((CoerceViaIO *) node)->arg;
			return true;
		case T_ArrayCoerceExpr:
			*argument = (Node *) ((ArrayCoerceExpr *) node)->arg;
			return true;
		case T_ConvertRowtypeExpr:
			*argument = (Node *) ((ConvertRowtypeExpr *) node)->arg;
			return true;
		case T_CollateExpr:
			*argument = (Node *) ((CollateExpr *) node)->arg;
			return true;
		case T_CoerceToDomain:
			*argument = (Node *) ((CoerceToDomain *) node)->arg;
			return true;
		default:
			return false;
	}
}

static int
outcome_of(Node *node, Walk *walk)
{
	Node	   *argument;

	check_stack_depth();
	if (is_cast(node, &argument))
		return cast_to(outcome_of(argument, walk), exprType(node));

	switch (nodeTag(node))
	{
		case T_Const:
			return outcome_of_const((Const *) node);
		case T_Var:
			return outcome_of_var((Var *) node, walk);
		case T_SQLValueFunction:
			return VALUE_SESSION;
		case T_FuncExpr:
			return outcome_of_function((FuncExpr *) node, walk);
		case T_OpExpr:
			return outcome_of_operator((OpExpr *) node, walk);
		case T_DistinctExpr:
			return outcome_of_distinct((DistinctExpr *) node, walk);
		case T_NullIfExpr:
			return outcome_of_nullif((NullIfExpr *) node, walk);
		case T_ScalarArrayOpExpr:
			return outcome_of_array_test((ScalarArrayOpExpr *) node, walk);
		case T_BoolExpr:
			return outcome_of_boolean((BoolExpr *) node, walk);
		case T_CoalesceExpr:
			return outcome_of_coalesce(((CoalesceExpr *) node)->args, walk);
		case T_CaseExpr:
			return outcome_of_case((CaseExpr *) node, walk);
		case T_CaseTestExpr:
			return walk->case_value != 0 ? walk->case_value : unknown_of(node);
		case T_NullTest:
			return outcome_of_null_test((NullTest *) node, walk);
		case T_BooleanTest:
			return outcome_of_boolean_test((BooleanTest *) node, walk);
		case T_SubLink:
			return outcome_of_sublink((SubLink *) node, walk);
		case T_FieldSelect:
			return outcome_of_field((FieldSelect *) node, walk);
		case T_ArrayExpr:
			return outcome_of_parts(node, ((ArrayExpr *) node)->elements, walk);
		case T_RowExpr:
			return outcome_of_parts(node, ((RowExpr *) node)->args, walk);
		case T_SubscriptingRef:
			return cast_to(outcome_of((Node *) ((SubscriptingRef *) node)->refexpr, walk), exprType(node));
		default:
			return unknown_of(node);
	}
}

/*
 * What a boolean expression can come to, as a set of outcomes, for a row of another
 * tenant than the one who asks, or when nobody has said who asks.  compares is set
 * when the row's tenant is held against anything outside the row.
 */
int
architect_tenant_outcome(Node *expression, const TenantSubject *subject, TenantScenario scenario, bool *compares)
{
	Walk		walk = {.subject = subject, .scenario = scenario};
	int			result = outcome_of(expression, &walk);

	*compares |= walk.compares;
	return result & ANY_BOOLEAN;
}
