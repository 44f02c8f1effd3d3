/*
 * workload_predicate.c
 *    Takes a condition apart: what rows of which table must fulfil.
 *
 * Only what must hold for every row is taken: what stands below NOT is not, and of OR it
 * is what all alternatives ask for, values of the same column.  The columns of the rest
 * are noted.  Functions return whether they took all that they were given.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

#include "index/workload_text.h"

static bool read_condition(IndexScope *scope, Node *condition, const Bitmapset *sources);

/* An operator that an index may serve, and the one that takes its sides the other way. */
typedef struct Operator
{
	const char *name;
	const char *commuted;		/* NULL: there is none */
	IndexPredicateKind kind;
} Operator;

static const Operator operators[] = {
	{"=", "=", INDEX_EQUALITY},
	{"<", ">", INDEX_RANGE},
	{"<=", ">=", INDEX_RANGE},
	{">", "<", INDEX_RANGE},
	{">=", "<=", INDEX_RANGE},
	{"~~", NULL, INDEX_PATTERN},
	{"~~*", NULL, INDEX_PATTERN},
	{"~", NULL, INDEX_PATTERN},
	{"~*", NULL, INDEX_PATTERN},
	{"^@", NULL, INDEX_PATTERN},
	{"<>", "<>", INDEX_OTHER},
	{"@>", "<@", INDEX_OTHER},
	{"<@", "@>", INDEX_OTHER},
	{"&&", "&&", INDEX_OTHER},
	{"@@", "@@", INDEX_OTHER},
	{"%", "%", INDEX_OTHER},
};

/*
 * Returns what is known of this operator; for others, that it is one.
 */
static Operator
find_operator(const char *name)
{
	Operator	other = {name, NULL, INDEX_OTHER};

	for (int i = 0; i < lengthof(operators); i++)
	{
		if (strcmp(operators[i].name, name) == 0)
			return operators[i];
	}
	return other;
}

/*
 * Returns the text of a constant; NULL where it is none.
 */
static char *
constant_text(Node *node)
{
	A_Const    *constant;

	while (node != NULL && IsA(node, TypeCast))
		node = ((TypeCast *) node)->arg;
	if (node == NULL || !IsA(node, A_Const) || ((A_Const *) node)->isnull)
		return NULL;
	constant = (A_Const *) node;
	switch (nodeTag(&constant->val))
	{
		case T_Integer:
			return psprintf("%d", intVal(&constant->val));
		case T_Float:
			return pstrdup(constant->val.fval.fval);
		case T_Boolean:
			return pstrdup(boolVal(&constant->val) ? "true" : "false");
		case T_String:
			return pstrdup(strVal(&constant->val));
		default:
			return NULL;
	}
}

/*
 * Adds a predicate about one side of an operator, if that is made of one table's columns,
 * and the other side is not.  Returns it, or NULL.
 */
static IndexPredicate *
add_side(IndexScope *scope, const Bitmapset *sources, Node *side, const char *operator, IndexPredicateKind kind,
		 Node *value)
{
	IndexParts	parts = {.scope = scope};
	IndexParts	others = {.scope = scope};
	IndexPredicate *predicate;
	IndexSource *source;
	int			number;

	architect_index_find_parts(side, &parts);
	architect_index_find_parts(value, &others);
	if (IsA(side, RowExpr) || parts.is_obscure || parts.has_outer || others.is_obscure ||
		!bms_get_singleton_member(parts.sources, &number) || !bms_is_member(number, sources) ||
		bms_is_member(number, others.sources))
		return NULL;
	source = list_nth(scope->sources, number);
	if (source->access == NULL || (source->is_nullable && strcmp(operator, "IS NULL") == 0))
		return NULL;

	predicate = palloc0(sizeof(IndexPredicate));
	if (!architect_index_write_side(scope, source, side, predicate))
		return NULL;
	if (predicate->attnum > 0 && kind <= INDEX_RANGE &&
		!architect_index_is_direct(scope, source, predicate->attnum, operator, value))
		return NULL;
	predicate->kind = kind;
	predicate->operator = pstrdup(operator);
	predicate->value = constant_text(value);
	predicate->is_join = others.has_outer || !bms_is_empty(others.sources);
	predicate->has_parameters = parts.has_parameters;
	predicate->columns = parts.columns;
	source->access->predicates = lappend(source->access->predicates, predicate);
	return predicate;
}

static bool
add_comparison(IndexScope *scope, const Bitmapset *sources, Node *left, const char *name, Node *right)
{
	Operator	operator = find_operator(name);
	bool		is_taken;

	is_taken = add_side(scope, sources, left, operator.name, operator.kind, right) != NULL;
	if (operator.commuted != NULL &&
		add_side(scope, sources, right, operator.commuted, operator.kind, left) != NULL)
		is_taken = true;
	return is_taken;
}

/*
 * Rows are equal when all their columns are; what is less is not greater in the first.
 */
static bool
add_rows(IndexScope *scope, const Bitmapset *sources, const List *left, const char *name, const List *right)
{
	IndexPredicateKind kind = find_operator(name).kind;
	bool		is_taken = true;
	ListCell   *one;
	ListCell   *other;

	if (list_length(left) != list_length(right) || left == NIL)
		return false;
	if (kind == INDEX_RANGE)
		return add_comparison(scope, sources, linitial(left), name[0] == '<' ? "<=" : ">=", linitial(right));
	if (kind != INDEX_EQUALITY)
		return false;
	forboth(one, left, other, right)
	{
		if (!add_comparison(scope, sources, lfirst(one), name, lfirst(other)))
			is_taken = false;
	}
	return is_taken;
}

static bool
read_comparison(IndexScope *scope, const Bitmapset *sources, const A_Expr *test)
{
	const char *name = strVal(llast(test->name));

	/* The operators before or behind a value are nothing that an index serves. */
	if (test->lexpr == NULL || test->rexpr == NULL)
		return false;
	if (IsA(test->lexpr, RowExpr) && IsA(test->rexpr, RowExpr))
		return add_rows(scope, sources, ((RowExpr *) test->lexpr)->args, name, ((RowExpr *) test->rexpr)->args);
	return add_comparison(scope, sources, test->lexpr, name, test->rexpr);
}

/*
 * Lists of constants are shortened to one by pg_stat_statements, from PostgreSQL 18 on.
 */
static bool
read_in_list(IndexScope *scope, const Bitmapset *sources, const A_Expr *test)
{
	List	   *values = (List *) test->rexpr;
	bool		is_in = strcmp(strVal(llast(test->name)), "=") == 0;
	bool		is_one = list_length(values) == 1 && !IsA(linitial(values), ParamRef);
	IndexPredicate *predicate = add_side(scope, sources, test->lexpr, is_in ? "=" : "<>",
										 is_in ? INDEX_EQUALITY : INDEX_OTHER,
										 is_one ? linitial(values) : test->rexpr);

	if (predicate != NULL)
		predicate->is_list = !is_one;
	return predicate != NULL;
}

static bool
read_any(IndexScope *scope, const Bitmapset *sources, const A_Expr *test)
{
	const char *name = strVal(llast(test->name));
	IndexPredicate *predicate = add_side(scope, sources, test->lexpr, name, find_operator(name).kind, test->rexpr);
	IndexPredicate *member = add_side(scope, sources, test->rexpr, psprintf("%s ANY", name), INDEX_OTHER,
									  test->lexpr);

	/* The value is an array, and not one that the column is compared with. */
	if (predicate != NULL)
	{
		predicate->is_list = true;
		predicate->value = NULL;
	}
	return predicate != NULL || member != NULL;
}

static bool
read_between(IndexScope *scope, const Bitmapset *sources, const A_Expr *test)
{
	List	   *ends = (List *) test->rexpr;
	IndexPredicate *low = add_side(scope, sources, test->lexpr, ">=", INDEX_RANGE, linitial(ends));
	IndexPredicate *high = add_side(scope, sources, test->lexpr, "<=", INDEX_RANGE, lsecond(ends));

	return low != NULL && high != NULL;
}

static bool
read_operator(IndexScope *scope, const Bitmapset *sources, const A_Expr *test)
{
	switch (test->kind)
	{
		case AEXPR_OP:
		case AEXPR_LIKE:
		case AEXPR_ILIKE:
			return read_comparison(scope, sources, test);
		case AEXPR_OP_ANY:
			return read_any(scope, sources, test);
		case AEXPR_IN:
			return read_in_list(scope, sources, test);
		case AEXPR_BETWEEN:
			return read_between(scope, sources, test);
		default:
			return false;
	}
}

/* A column, or expression, that is itself true, or false. */
static bool
read_boolean(IndexScope *scope, const Bitmapset *sources, Node *node, bool value)
{
	A_Const    *constant = makeNode(A_Const);

	constant->val.boolval.type = T_Boolean;
	constant->val.boolval.boolval = value;
	return add_side(scope, sources, node, "=", INDEX_EQUALITY, (Node *) constant) != NULL;
}

static bool
read_sublink(IndexScope *scope, const Bitmapset *sources, const SubLink *link)
{
	IndexSource *source;
	int16		attnum;
	bool		is_outer;

	if (link->subLinkType != ANY_SUBLINK || !IsA(link->testexpr, ColumnRef) ||
		(link->operName != NIL && strcmp(strVal(llast(link->operName)), "=") != 0))
		return false;
	source = architect_index_resolve(scope, (ColumnRef *) link->testexpr, &attnum, &is_outer);
	if (attnum == 0 || is_outer || !bms_is_member(source->number, sources))
		return false;
	architect_index_add_join(source, attnum);
	return true;
}

static bool
is_about_same(const IndexPredicate *left, const IndexPredicate *right)
{
	if (left->expression == NULL || right->expression == NULL)
		return left->expression == right->expression && left->attnum == right->attnum;
	return strcmp(left->expression, right->expression) == 0;
}

/*
 * Returns those of the predicates that ask for values of something that one of the others
 * asks for values of too.
 */
static List *
find_common(const List *predicates, const List *others)
{
	List	   *common = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, predicates)
	{
		IndexPredicate *predicate = lfirst(cell);

		if (strcmp(predicate->operator, "=") != 0 || predicate->is_join)
			continue;
		foreach(inner, others)
		{
			const IndexPredicate *other = lfirst(inner);

			if (strcmp(other->operator, "=") == 0 && !other->is_join && is_about_same(predicate, other))
			{
				common = lappend(common, predicate);
				break;
			}
		}
	}
	return common;
}

/*
 * Takes away the predicates of all sources; returns them by number.
 */
static List **
take_predicates(const IndexScope *scope)
{
	List	  **taken = palloc0((list_length(scope->sources) + 1) * sizeof(List *));
	ListCell   *cell;

	foreach(cell, scope->sources)
	{
		const IndexSource *source = lfirst(cell);

		if (source->access == NULL)
			continue;
		taken[source->number] = source->access->predicates;
		source->access->predicates = NIL;
	}
	return taken;
}

/*
 * Adds what all alternatives of an OR ask for, which are values of the same column.  Each
 * is read as if it were all there is.
 */
static bool
read_alternatives(IndexScope *scope, const Bitmapset *sources, const BoolExpr *logic)
{
	List	  **before = take_predicates(scope);
	List	  **common = NULL;
	bool		is_taken = true;
	ListCell   *cell;

	foreach(cell, logic->args)
	{
		List	  **alternative;

		is_taken = read_condition(scope, lfirst(cell), sources) && is_taken;
		alternative = take_predicates(scope);
		if (common == NULL)
			common = alternative;
		for (int i = 0; i < list_length(scope->sources); i++)
		{
			common[i] = find_common(common[i], alternative[i]);
			is_taken = is_taken && list_length(common[i]) == list_length(alternative[i]);
		}
	}
	for (int i = 0; i < list_length(scope->sources); i++)
	{
		IndexAccess *access = ((IndexSource *) list_nth(scope->sources, i))->access;
		ListCell   *inner;

		foreach(inner, common[i])
		{
			((IndexPredicate *) lfirst(inner))->is_list = true;
			((IndexPredicate *) lfirst(inner))->value = NULL;
		}
		if (access != NULL)
			access->predicates = list_concat(before[i], common[i]);
	}
	return is_taken;
}

static bool
read_logic(IndexScope *scope, const Bitmapset *sources, const BoolExpr *logic)
{
	bool		is_taken = true;
	ListCell   *cell;

	switch (logic->boolop)
	{
		case AND_EXPR:
			foreach(cell, logic->args)
				is_taken = read_condition(scope, lfirst(cell), sources) && is_taken;
			return is_taken;
		case OR_EXPR:
			return read_alternatives(scope, sources, logic);
		default:
			return IsA(linitial(logic->args), ColumnRef) && read_boolean(scope, sources, linitial(logic->args), false);
	}
}

static bool
read_test(IndexScope *scope, const Bitmapset *sources, Node *test)
{
	if (IsA(test, BooleanTest))
	{
		BoolTestType type = ((BooleanTest *) test)->booltesttype;

		if (type == IS_TRUE)
			return read_condition(scope, (Node *) ((BooleanTest *) test)->arg, sources);
		return type == IS_FALSE && read_boolean(scope, sources, (Node *) ((BooleanTest *) test)->arg, false);
	}
	if (((NullTest *) test)->nulltesttype == IS_NULL)
		return add_side(scope, sources, (Node *) ((NullTest *) test)->arg, "IS NULL", INDEX_EQUALITY, NULL) != NULL;
	return add_side(scope, sources, (Node *) ((NullTest *) test)->arg, "IS NOT NULL", INDEX_OTHER, NULL) != NULL;
}

static bool
read_condition(IndexScope *scope, Node *condition, const Bitmapset *sources)
{
	check_stack_depth();
	switch (nodeTag(condition))
	{
		case T_BoolExpr:
			return read_logic(scope, sources, (BoolExpr *) condition);
		case T_A_Expr:
			return read_operator(scope, sources, (A_Expr *) condition);
		case T_NullTest:
		case T_BooleanTest:
			return read_test(scope, sources, condition);
		case T_SubLink:
			return read_sublink(scope, sources, (SubLink *) condition);
		case T_ColumnRef:
		case T_FuncCall:
			return read_boolean(scope, sources, condition, true);
		default:
			return false;
	}
}

/* A condition that is not understood. */
typedef struct Unread
{
	IndexScope *scope;
	const Bitmapset *sources;
} Unread;

/*
 * A walker that notes the columns of a condition that is not understood.
 */
static bool
note_unread(Node *node, void *context)
{
	Unread	   *unread = context;

	if (node == NULL || IsA(node, SelectStmt))
		return false;
	if (IsA(node, ColumnRef))
	{
		int16		attnum;
		bool		is_outer;
		IndexSource *source = architect_index_resolve(unread->scope, (ColumnRef *) node, &attnum, &is_outer);

		if (attnum > 0 && !is_outer && bms_is_member(source->number, unread->sources))
			source->access->unread = bms_add_member(source->access->unread, attnum);
		return false;
	}
	return raw_expression_tree_walker(node, note_unread, unread);
}

/*
 * Adds to the accesses of these sources what the condition asks of their rows.
 */
void
architect_index_read_condition(IndexScope *scope, Node *condition, const Bitmapset *sources)
{
	Unread		unread = {.scope = scope, .sources = sources};

	if (condition == NULL)
		return;
	check_stack_depth();
	if (IsA(condition, BoolExpr) && ((BoolExpr *) condition)->boolop == AND_EXPR)
	{
		ListCell   *cell;

		foreach(cell, ((BoolExpr *) condition)->args)
			architect_index_read_condition(scope, lfirst(cell), sources);
	}
	else if (!read_condition(scope, condition, sources))
		(void) note_unread(condition, &unread);
}

/*
 * Adds that a column equals one of another table.
 */
void
architect_index_add_join(IndexSource *source, int16 attnum)
{
	IndexPredicate *predicate = palloc0(sizeof(IndexPredicate));

	predicate->kind = INDEX_EQUALITY;
	predicate->attnum = attnum;
	predicate->operator = pstrdup("=");
	predicate->is_join = true;
	source->access->predicates = lappend(source->access->predicates, predicate);
}
