/*
 * workload_text.c
 *    Walks through a parsed statement, and notes what it does with which table.
 *
 * A statement is read part by part: its WITH, then FROM, which gives the sources that
 * names are looked up in, then the conditions, then all the rest for the columns that
 * are read and the queries inside.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"

#include "index/workload_text.h"

/*
 * A walker that notes the columns that are read, and reads the queries inside.
 */
static bool
read_rest(Node *node, void *context)
{
	IndexScope *scope = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_ColumnRef:
			architect_index_note_column(scope, (ColumnRef *) node);
			return false;
		case T_SelectStmt:
			architect_index_read_part(scope, true, node);
			return false;
		case T_WithClause:
		case T_RangeSubselect:
			return false;
		default:
			return raw_expression_tree_walker(node, read_rest, scope);
	}
}

static Bitmapset *
all_sources(const IndexScope *scope)
{
	return list_length(scope->sources) == 0 ? NULL : bms_add_range(NULL, 0, list_length(scope->sources) - 1);
}

/*
 * Returns what ORDER BY sorts by: a result column by its number or name, or a column.
 */
static Node *
sort_target(SelectStmt *select, Node *node)
{
	ListCell   *cell;

	if (IsA(node, A_Const) && IsA(&((A_Const *) node)->val, Integer))
	{
		int			position = intVal(&((A_Const *) node)->val);

		if (position < 1 || position > list_length(select->targetList))
			return node;
		return list_nth_node(ResTarget, select->targetList, position - 1)->val;
	}
	if (!IsA(node, ColumnRef) || list_length(((ColumnRef *) node)->fields) != 1)
		return node;
	foreach(cell, select->targetList)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		const char *name = architect_index_result_name(target);

		if (name != NULL && strcmp(name, strVal(linitial(((ColumnRef *) node)->fields))) == 0)
			return target->val;
	}
	return node;
}

static bool
has_window(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncCall) && ((FuncCall *) node)->over != NULL)
		return true;
	return !IsA(node, SubLink) && raw_expression_tree_walker(node, has_window, context);
}

/* True when the result is made of all rows, whatever the limit is. */
static bool
needs_all_rows(SelectStmt *select)
{
	return select->groupClause != NIL || select->distinctClause != NIL || select->havingClause != NULL ||
		has_window((Node *) select->targetList, NULL);
}

/* True unless it is LIMIT ALL. */
static bool
has_limit(const SelectStmt *select)
{
	return select->limitCount != NULL &&
		!(IsA(select->limitCount, A_Const) && ((A_Const *) select->limitCount)->isnull);
}

/*
 * Notes the order of the result, if it is one of a table's columns.
 */
static void
read_sort(IndexScope *scope, SelectStmt *select)
{
	IndexSource *sorted = NULL;
	List	   *sort = NIL;
	ListCell   *cell;

	foreach(cell, select->sortClause)
	{
		SortBy	   *item = lfirst_node(SortBy, cell);
		Node	   *node = sort_target(select, item->node);
		IndexSource *source;
		IndexSort  *key;
		int16		attnum;
		bool		is_outer;

		if (!IsA(node, ColumnRef) || item->sortby_dir == SORTBY_USING)
			return;
		source = architect_index_resolve(scope, (ColumnRef *) node, &attnum, &is_outer);
		if (attnum == 0 || is_outer || source->is_nullable || (sorted != NULL && source != sorted))
			return;
		sorted = source;
		key = palloc0(sizeof(IndexSort));
		key->attnum = attnum;
		key->is_descending = item->sortby_dir == SORTBY_DESC;
		key->nulls_first = item->sortby_nulls == SORTBY_NULLS_DEFAULT ? key->is_descending :
			item->sortby_nulls == SORTBY_NULLS_FIRST;
		sort = lappend(sort, key);
	}
	if (sorted == NULL)
		return;
	sorted->access->sort = sort;
	sorted->access->is_limited = has_limit(select);
}

static void
read_select(IndexScope *scope, SelectStmt *select)
{
	ListCell   *cell;

	architect_index_add_with(scope, select->withClause);
	if (select->op != SETOP_NONE)
	{
		architect_index_read_part(scope, scope->sees_outer, (Node *) select->larg);
		architect_index_read_part(scope, scope->sees_outer, (Node *) select->rarg);
		return;
	}
	foreach(cell, select->fromClause)
		(void) architect_index_add_from(scope, lfirst(cell));
	architect_index_read_condition(scope, select->whereClause, all_sources(scope));
	if (!needs_all_rows(select))
		read_sort(scope, select);
	(void) raw_expression_tree_walker((Node *) select, read_rest, scope);
	foreach(cell, select->lockingClause == NIL ? NIL : scope->sources)
		((IndexSource *) lfirst(cell))->reads_all = true;
}

/*
 * Notes the columns that an UPDATE sets.
 */
static void
read_assignments(IndexSource *source, const List *targets)
{
	ListCell   *cell;

	foreach(cell, source->access == NULL ? NIL : targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		int16		attnum = architect_index_resolve_column(source->access->table, target->name);

		if (attnum > 0)
			source->access->assigned = bms_add_member(source->access->assigned, attnum);
	}
}

static void
read_update(IndexScope *scope, UpdateStmt *update)
{
	IndexSource *target;
	ListCell   *cell;

	architect_index_add_with(scope, update->withClause);
	target = architect_index_add_relation(scope, update->relation);
	target->reads_all = true;
	foreach(cell, update->fromClause)
		(void) architect_index_add_from(scope, lfirst(cell));
	read_assignments(target, update->targetList);
	architect_index_read_condition(scope, update->whereClause, all_sources(scope));
	(void) raw_expression_tree_walker((Node *) update, read_rest, scope);
}

static void
read_delete(IndexScope *scope, DeleteStmt *delete)
{
	ListCell   *cell;

	architect_index_add_with(scope, delete->withClause);
	architect_index_add_relation(scope, delete->relation)->reads_all = true;
	foreach(cell, delete->usingClause)
		(void) architect_index_add_from(scope, lfirst(cell));
	architect_index_read_condition(scope, delete->whereClause, all_sources(scope));
	(void) raw_expression_tree_walker((Node *) delete, read_rest, scope);
}

/*
 * An INSERT reads its own table only where it updates a row that is in the way.
 */
static void
read_insert(IndexScope *scope, InsertStmt *insert)
{
	IndexSource *target;

	architect_index_add_with(scope, insert->withClause);
	if (insert->selectStmt != NULL)
		architect_index_read_part(scope, false, insert->selectStmt);
	if (insert->onConflictClause == NULL || insert->onConflictClause->action != ONCONFLICT_UPDATE)
		return;
	target = architect_index_add_relation(scope, insert->relation);
	target->reads_all = true;
	read_assignments(target, insert->onConflictClause->targetList);
}

static void
read_merge(IndexScope *scope, MergeStmt *merge)
{
	IndexSource *target;
	ListCell   *cell;

	architect_index_add_with(scope, merge->withClause);
	target = architect_index_add_relation(scope, merge->relation);
	target->reads_all = true;
	(void) architect_index_add_from(scope, merge->sourceRelation);
	foreach(cell, merge->mergeWhenClauses)
	{
		MergeWhenClause *clause = lfirst_node(MergeWhenClause, cell);

		if (clause->commandType == CMD_UPDATE)
			read_assignments(target, clause->targetList);
	}
	architect_index_read_condition(scope, merge->joinCondition, all_sources(scope));
	(void) raw_expression_tree_walker((Node *) merge, read_rest, scope);
}

/*
 * What is read as a whole has no set of columns.
 */
static void
finish_scope(IndexScope *scope)
{
	ListCell   *cell;

	foreach(cell, scope->sources)
	{
		IndexSource *source = lfirst(cell);

		if (source->reads_all && source->access != NULL)
			source->access->columns = NULL;
	}
}

/*
 * Reads a statement, or a query inside of one.
 */
void
architect_index_read_part(IndexScope *outer, bool sees_outer, Node *node)
{
	IndexScope	scope = {.outer = outer, .sees_outer = sees_outer, .names = outer->names, .query = outer->query};

	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_SelectStmt:
			read_select(&scope, (SelectStmt *) node);
			break;
		case T_InsertStmt:
			read_insert(&scope, (InsertStmt *) node);
			break;
		case T_UpdateStmt:
			read_update(&scope, (UpdateStmt *) node);
			break;
		case T_DeleteStmt:
			read_delete(&scope, (DeleteStmt *) node);
			break;
		case T_MergeStmt:
			read_merge(&scope, (MergeStmt *) node);
			break;
		default:
			break;
	}
	finish_scope(&scope);
}

/*
 * Returns the query that a command runs; NULL where it has none.
 */
static Node *
inner_query(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_PrepareStmt:
			return ((PrepareStmt *) statement)->query;
		case T_DeclareCursorStmt:
			return ((DeclareCursorStmt *) statement)->query;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) statement)->query;
		case T_CopyStmt:
			return ((CopyStmt *) statement)->query;
		default:
			return statement;
	}
}

/*
 * Adds to the query what a statement does with the tables of the names.
 */
void
architect_index_read_statement(IndexNames *names, IndexQuery *query, Node *statement)
{
	IndexScope	nothing = {.names = names, .query = query};
	Node	   *inner = inner_query(statement);

	if (inner != NULL)
		architect_index_read_part(&nothing, false, inner);
}
