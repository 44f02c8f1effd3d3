/*
 * workload_expression.c
 *    What a condition compares: a column, or an expression as index definitions have it.
 *
 * The tree of the parser is analyzed against the table, with the names of functions and
 * types looked up as those who ran the query see them.  Nothing of it is executed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "parser/parse_param.h"
#include "parser/parse_relation.h"
#include "parser/parse_target.h"
#include "parser/parse_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "index/workload_text.h"

/*
 * True when pg_get_indexdef() writes this without more parentheses.
 */
static bool
looks_like_function(Node *node)
{
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			return ((FuncExpr *) node)->funcformat == COERCE_EXPLICIT_CALL ||
				((FuncExpr *) node)->funcformat == COERCE_SQL_SYNTAX;
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullIfExpr:
		case T_SQLValueFunction:
		case T_XmlExpr:
			return true;
		default:
			return false;
	}
}

/* Drops the qualifier of columns: there is only one table. */
static bool
strip_qualifiers(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, ColumnRef))
	{
		ColumnRef  *column = (ColumnRef *) node;

		column->fields = list_make1(llast(column->fields));
		return false;
	}
	return raw_expression_tree_walker(node, strip_qualifiers, context);
}

/* An expression that is to be written as an index definition has it. */
typedef struct Writing
{
	const IndexNames *names;
	const IndexSource *source;
	Node	   *side;
	IndexPredicate *predicate;
	bool		is_written;
} Writing;

static bool
is_text(Oid type)
{
	Oid			base = getBaseType(type);

	return base == TEXTOID || base == VARCHAROID;
}

/*
 * Returns the number of the column that an expression is: a varchar that is cast to text
 * is still the column, as the cast does nothing.
 */
static int16
same_column(Node *node)
{
	Oid			type = exprType(node);

	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (!IsA(node, Var) || !is_text(type) || !is_text(exprType(node)))
		return 0;
	return ((Var *) node)->varattno;
}

/* Has names be looked up on the path of the queries; returns what AtEOXact_GUC() takes. */
static int
follow_path(const IndexNames *names)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path", names->path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

static Node *
analyze_side(const Writing *writing, Relation rel)
{
	ParseState *state = make_parsestate(NULL);
	int			level = follow_path(writing->names);
	Node	   *node = copyObject(writing->side);
	Oid		   *types = NULL;
	int			ntypes = 0;
	ParseNamespaceItem *item;

	(void) strip_qualifiers(node, NULL);
	writing->predicate->label = FigureIndexColname(node);
	setup_parse_variable_parameters(state, &types, &ntypes);
	item = addRangeTableEntryForRelation(state, rel, AccessShareLock, NULL, false, true);
	addNSItemToQuery(state, item, false, true, true);
	node = transformExpr(state, node, EXPR_KIND_WHERE);
	assign_expr_collations(state, node);
	free_parsestate(state);
	AtEOXact_GUC(true, level);
	return node;
}

static bool
is_of_stranger(Oid function, void *owner)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		is_own = HeapTupleIsValid(tuple) &&
		has_privs_of_role(((Form_pg_proc) GETSTRUCT(tuple))->proowner, *(Oid *) owner);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return !is_own;
}

/*
 * True for an expression that an index must not have: functions of others, who may not
 * act as the owner of the table, would run as the owner.
 */
bool
architect_index_runs_strangers(Node *node, void *owner)
{
	if (node == NULL)
		return false;
	return IsA(node, CoerceToDomain) || check_functions_in_node(node, is_of_stranger, owner) ||
		expression_tree_walker(node, architect_index_runs_strangers, owner);
}

/*
 * Writes it, unless the table is gone, or locked by somebody else.
 */
static void
write_side(void *argument)
{
	Writing    *writing = argument;
	IndexPredicate *predicate = writing->predicate;
	Oid			oid = writing->source->access->table->oid;
	Relation	rel;
	Node	   *node;
	char	   *text;

	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		return;
	rel = try_relation_open(oid, NoLock);
	if (rel == NULL)
	{
		UnlockRelationOid(oid, AccessShareLock);
		return;
	}
	node = analyze_side(writing, rel);
	predicate->attnum = same_column(node);

	/* Of a row without a match, what is not strict may be true. */
	writing->is_written = predicate->attnum > 0 ||
		(!(writing->source->is_nullable && contain_nonstrict_functions(node)) &&
		 !architect_index_runs_strangers(node, &rel->rd_rel->relowner));
	if (writing->is_written && predicate->attnum == 0)
	{
		predicate->type = exprType(node);
		predicate->is_immutable = !contain_mutable_functions(node);
		text = deparse_expression(node, deparse_context_for(RelationGetRelationName(rel), oid), false, false);
		predicate->expression = looks_like_function(node) ? text : psprintf("(%s)", text);
	}
	relation_close(rel, AccessShareLock);
}

/*
 * Says in the predicate which column, or expression, of the source a side of an operator
 * is; false where that cannot be told.
 */
bool
architect_index_write_side(const IndexScope *scope, const IndexSource *source, Node *side, IndexPredicate *predicate)
{
	Writing		writing = {.names = scope->names, .source = source, .side = side, .predicate = predicate};

	if (IsA(side, ColumnRef))
	{
		predicate->attnum = architect_index_resolve_column(source->access->table,
														   strVal(llast(((ColumnRef *) side)->fields)));
		return true;
	}
	return architect_attempt(write_side, &writing) == NULL && writing.is_written;
}

/* A column, and what it is compared with. */
typedef struct Comparison
{
	const IndexNames *names;
	Oid			type;			/* of the column */
	const char *operator;
	Node	   *value;
	bool		is_direct;
} Comparison;

/*
 * Returns the type of a value, where it is written in the text; else InvalidOid.
 */
static Oid
value_type(Node *value)
{
	Type		found;
	Oid			type;

	if (IsA(value, A_Const) && IsA(&((A_Const *) value)->val, Float))
		return strpbrk(((A_Const *) value)->val.fval.fval, ".eE") != NULL ? NUMERICOID : INT8OID;
	if (!IsA(value, TypeCast))
		return InvalidOid;
	found = LookupTypeName(NULL, ((TypeCast *) value)->typeName, NULL, true);
	if (found == NULL)
		return InvalidOid;
	type = typeTypeId(found);
	ReleaseSysCache(found);
	return type;
}

static void
find_comparison(void *argument)
{
	Comparison *comparison = argument;
	int			level = follow_path(comparison->names);
	Oid			type = value_type(comparison->value);
	Operator	found = NULL;

	if (OidIsValid(get_element_type(type)) && !OidIsValid(get_element_type(comparison->type)))
		type = get_element_type(type);
	if (OidIsValid(type))
		found = oper(NULL, list_make1(makeString(pstrdup(comparison->operator))), comparison->type, type, true, -1);
	if (found != NULL)
	{
		comparison->is_direct = IsBinaryCoercible(comparison->type, ((Form_pg_operator) GETSTRUCT(found))->oprleft);
		ReleaseSysCache(found);
	}
	AtEOXact_GUC(true, level);
}

/*
 * True unless the operator takes the column only after a cast to the type of the value,
 * as an integer that is compared with a numeric is.
 */
bool
architect_index_is_direct(const IndexScope *scope, const IndexSource *source, int16 attnum,
								const char *operator, Node *value)
{
	Comparison	comparison = {
		.names = scope->names,
		.type = source->access->table->columns[attnum - 1].type,
		.operator = operator,
		.value = value,
		.is_direct = true,
	};

	if (value != NULL && IsA(value, List))
		comparison.value = linitial((List *) value);
	if (comparison.value != NULL && (IsA(comparison.value, TypeCast) || IsA(comparison.value, A_Const)))
		(void) architect_attempt(find_comparison, &comparison);
	return comparison.is_direct;
}
