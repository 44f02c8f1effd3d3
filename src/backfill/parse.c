/*
 * parse.c
 *    What is set and where, as the user writes it: from text to expressions over the
 *    columns of one relation, and nothing else.
 *
 * The texts are never pasted into a statement: the server's parser reads each on its
 * own, and anything that is more than assignments, or one expression, is refused.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "backfill/backfill.h"
#include "backfill/expression.h"
#include "compat.h"

#define SET_PREFIX "UPDATE " BACKFILL_ALIAS " SET "

/* The text in hand. */
typedef struct Source
{
	const char *argument;		/* that it was given as */
	const char *text;
	int			prefix;			/* bytes of ours before it in what is parsed */
} Source;

/*
 * Error context: places in the argument are not places in the user's query.
 */
static void
show_source(void *argument)
{
	Source	   *source = argument;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->prefix, 1));
		internalerrquery(source->text);
	}
	errcontext("argument \"%s\" of the backfill", source->argument);
}

static void
refuse_set(bool has_condition)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("\"set\" is not a list of assignments"),
			 has_condition ? errhint("Give the condition in the \"filter\" argument.") :
			 errhint("Write assignments and nothing else, such as total = price * amount, note = NULL.")));
}

static void
refuse_filter(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("\"filter\" is not one expression"),
			 errhint("Write a boolean expression over the columns, such as total IS NULL.")));
}

/*
 * Returns the assignments (ResTarget) in the text, which stands behind the prefix.
 */
static List *
read_set(const char *text)
{
	List	   *statements;
	RawStmt    *raw;
	UpdateStmt *update;

	if (strspn(text + strlen(SET_PREFIX), " \t\r\n") == strlen(text + strlen(SET_PREFIX)))
		refuse_set(false);
	statements = raw_parser(text, RAW_PARSE_DEFAULT);
	if (list_length(statements) != 1)
		refuse_set(false);
	raw = linitial_node(RawStmt, statements);
	update = (UpdateStmt *) raw->stmt;

	/* A length says that a semicolon follows. */
	if (raw->stmt_len != 0 || !IsA(update, UpdateStmt) || update->fromClause != NIL || update->withClause != NULL ||
		architect_has_returning(update))
		refuse_set(false);
	if (update->whereClause != NULL)
		refuse_set(true);
	return update->targetList;
}

static bool
is_star(Node *expression)
{
	return IsA(expression, ColumnRef) && IsA(llast(((ColumnRef *) expression)->fields), A_Star);
}

static Node *
read_filter(const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	ResTarget  *result;

	if (!IsA(select, SelectStmt) || list_length(select->targetList) != 1 || select->op != SETOP_NONE ||
		select->distinctClause != NIL || select->intoClause != NULL || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->valuesLists != NIL || select->sortClause != NIL ||
		select->limitOffset != NULL || select->limitCount != NULL || select->lockingClause != NIL ||
		select->withClause != NULL)
		refuse_filter();

	result = linitial_node(ResTarget, select->targetList);
	if (result->name != NULL || result->indirection != NIL || is_star(result->val))
		refuse_filter();
	return result->val;
}

/*
 * Returns a parser state in which the columns of the relation can be named, and
 * nothing else.
 */
static ParseState *
open_namespace(Relation rel, const char *alias, const char *text)
{
	ParseState *state = make_parsestate(NULL);

	state->p_sourcetext = text;
	state->p_target_relation = rel;
	state->p_target_nsitem = addRangeTableEntryForRelation(state, rel, AccessShareLock,
														   alias != NULL ? makeAlias(alias, NIL) : NULL,
														   false, true);
	addNSItemToQuery(state, state->p_target_nsitem, false, true, true);
	return state;
}

/* What is read in an expression. */
typedef struct Reading
{
	Oid			relid;
	int			depth;			/* sub-selects around the node at hand */
	Bitmapset  *columns;
	int			subquery;		/* place of the first, or -1 */
	Var		   *system;			/* the first system column, or NULL */
} Reading;

static bool
note_reading(Node *node, void *context)
{
	Reading    *reading = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup == reading->depth && var->varno == BACKFILL_VARNO)
		{
			reading->columns = bms_add_member(reading->columns, var->varattno - FirstLowInvalidHeapAttributeNumber);
			if (var->varattno < 0 && reading->system == NULL)
				reading->system = var;
		}
		return false;
	}
	if (IsA(node, SubLink) && reading->subquery < 0)
		reading->subquery = Max(((SubLink *) node)->location, 0);
	if (IsA(node, Query))
	{
		reading->depth++;
		query_tree_walker((Query *) node, note_reading, reading, QTW_EXAMINE_RTES_BEFORE);
		reading->depth--;
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		/* Other rows of the table count as the whole row. */
		if (((RangeTblEntry *) node)->relid == reading->relid)
			reading->columns = bms_add_member(reading->columns,
											  InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber);
		return false;
	}
	return expression_tree_walker(node, note_reading, reading);
}

/*
 * Returns the columns of the relation that the expression reads; the whole row is
 * one of its own, number 0, as is what subqueries read of the table.
 */
Bitmapset *
architect_backfill_columns_of(Relation rel, Node *expression)
{
	Reading		reading = {.relid = RelationGetRelid(rel), .subquery = -1};

	note_reading(expression, &reading);
	return reading.columns;
}

/*
 * Refuses what an expression of a backfill must not read.
 */
static void
check_reading(ParseState *state, Node *expression, bool allows_subqueries)
{
	Reading		reading = {.subquery = -1};

	note_reading(expression, &reading);
	if (reading.subquery >= 0 && !allows_subqueries)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a backfill does not read other tables unless it is told to"),
				 errdetail("A subquery gives each batch what the other tables hold by then."),
				 errhint("Call it with allow_subqueries => true, if that is meant."),
				 parser_errposition(state, reading.subquery)));
	if (reading.system != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("system column \"%s\" cannot be used in a backfill",
						get_attname(RelationGetRelid(state->p_target_relation), reading.system->varattno, false)),
				 errdetail("It is not part of the row's own data."),
				 errhint("Use columns of the table."),
				 parser_errposition(state, reading.system->location)));
}

/*
 * Refuses the column if rows are put into partitions by it, in this table or in one
 * above or below it: rows would move.
 */
static void
check_no_partition_key(ParseState *state, ResTarget *target)
{
	Oid			relid = RelationGetRelid(state->p_target_relation);
	List	   *tables = list_concat(get_partition_ancestors(relid),
									 find_all_inheritors(relid, AccessShareLock, NULL));
	ListCell   *cell;

	foreach(cell, tables)
	{
		Relation	table;
		AttrNumber	attnum;
		bool		in_expression;

		if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_PARTITIONED_TABLE)
			continue;
		table = table_open(lfirst_oid(cell), AccessShareLock);
		attnum = get_attnum(RelationGetRelid(table), target->name);
		if (has_partition_attrs(table, bms_make_singleton(attnum - FirstLowInvalidHeapAttributeNumber),
								&in_expression))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" cannot be set by a backfill", target->name),
					 errdetail("It is in the partition key of table \"%s\": rows would move to other partitions.",
							   RelationGetRelationName(table)),
					 errhint("Insert these rows anew, or build another table."),
					 parser_errposition(state, target->location)));
		table_close(table, AccessShareLock);
	}
}

/*
 * Refuses an assignment to what cannot be set.
 */
static void
check_column(ParseState *state, ResTarget *target)
{
	Relation	rel = state->p_target_relation;
	AttrNumber	attnum = attnameAttNum(rel, target->name, true);
	Form_pg_attribute attribute;

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", target->name, RelationGetRelationName(rel)),
				 parser_errposition(state, target->location)));
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("system column \"%s\" cannot be set", target->name),
				 parser_errposition(state, target->location)));
	if (target->indirection != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an element or field of column \"%s\" cannot be set by itself", target->name),
				 errhint("Set the whole column to an expression that has the new value in its place."),
				 parser_errposition(state, target->location)));
	if (IsA(target->val, MultiAssignRef) && IsA(((MultiAssignRef *) target->val)->source, SubLink))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("several columns cannot be set from one subquery"),
				 errhint("Write a subquery for each column."),
				 parser_errposition(state, target->location)));

	attribute = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	if (attribute->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" cannot be set", target->name),
				 errdetail("It is a generated column."),
				 errhint("Set the columns from which it is generated."),
				 parser_errposition(state, target->location)));
	if (attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" cannot be set", target->name),
				 errdetail("It is an identity column defined as GENERATED ALWAYS."),
				 errhint("Make it GENERATED BY DEFAULT first."),
				 parser_errposition(state, target->location)));
	check_no_partition_key(state, target);
}

static void
check_columns(ParseState *state, List *targets)
{
	ListCell   *cell;

	foreach(cell, targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		check_column(state, target);
		for (int i = 0; i < foreach_current_index(cell); i++)
		{
			if (strcmp(list_nth_node(ResTarget, targets, i)->name, target->name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("column \"%s\" is set twice", target->name),
						 parser_errposition(state, target->location)));
		}
	}
}

/*
 * Returns the call that an identity column's default stands for.
 */
static Node *
make_nextval(Oid sequence)
{
	Const	   *argument = makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(sequence), false, true);

	return (Node *) makeFuncExpr(F_NEXTVAL, INT8OID, list_make1(argument), InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

/*
 * What DEFAULT means for the column.
 */
static Expr *
default_of(ParseState *state, AttrNumber attnum)
{
	Relation	rel = state->p_target_relation;
	Node	   *expression = build_column_default(rel, attnum);
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	if (expression == NULL)
		expression = (Node *) makeNullConst(UNKNOWNOID, -1, InvalidOid);
	else if (IsA(expression, NextValueExpr))
		expression = make_nextval(((NextValueExpr *) expression)->seqid);
	else
		return (Expr *) expression;
	return (Expr *) coerce_to_target_type(state, expression, exprType(expression), attribute->atttypid,
										  attribute->atttypmod, COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
}

/*
 * Returns the assignments in the text as target entries over the relation, which may
 * be named by the alias or, where that is NULL, by its own name.  Raises what the
 * parser raises, and refuses what a backfill cannot do.
 */
List *
architect_backfill_parse_set(Relation rel, const char *alias, const char *text, bool allows_subqueries)
{
	Source		source = {"set", text, strlen(SET_PREFIX)};
	ErrorContextCallback context = {error_context_stack, show_source, &source};
	ParseState *state;
	char	   *statement = psprintf(SET_PREFIX "%s", text);
	List	   *assignments;
	List	   *targets;
	ListCell   *cell;

	error_context_stack = &context;
	assignments = read_set(statement);
	state = open_namespace(rel, alias, statement);
	check_columns(state, assignments);
	targets = transformUpdateTargetList(state, assignments);

	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (IsA(target->expr, SetToDefault))
			target->expr = default_of(state, target->resno);
		assign_expr_collations(state, (Node *) target->expr);
		check_reading(state, (Node *) target->expr, allows_subqueries);
	}
	error_context_stack = context.previous;
	return targets;
}

/*
 * Returns the filter in the text as a boolean expression; the same for the rest.
 */
Node *
architect_backfill_parse_filter(Relation rel, const char *alias, const char *text, bool allows_subqueries)
{
	Source		source = {"filter", text, 0};
	ErrorContextCallback context = {error_context_stack, show_source, &source};
	ParseState *state;
	Node	   *condition;

	error_context_stack = &context;
	state = open_namespace(rel, alias, text);
	condition = transformExpr(state, read_filter(text), EXPR_KIND_WHERE);
	condition = coerce_to_boolean(state, condition, "filter");
	assign_expr_collations(state, condition);
	check_reading(state, condition, allows_subqueries);
	error_context_stack = context.previous;
	return condition;
}
