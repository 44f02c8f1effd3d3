/*
 * workload_from.c
 *    What stands in FROM and WITH: the sources that names are looked up in.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/value.h"
#include "parser/parse_target.h"

#include "index/workload_text.h"

static IndexSource *
add_source(IndexScope *scope, const char *name)
{
	IndexSource *source = palloc0(sizeof(IndexSource));

	source->number = list_length(scope->sources);
	source->name = name == NULL ? NULL : pstrdup(name);
	scope->sources = lappend(scope->sources, source);
	return source;
}

static bool
is_star(Node *node)
{
	if (IsA(node, ColumnRef))
		return IsA(llast(((ColumnRef *) node)->fields), A_Star);
	return IsA(node, A_Indirection) && IsA(llast(((A_Indirection *) node)->indirection), A_Star);
}

/*
 * Returns the name of a result column; NULL where there are several.
 */
const char *
architect_index_result_name(ResTarget *target)
{
	if (target->name != NULL)
		return target->name;
	return is_star(target->val) ? NULL : FigureColname(target->val);
}

/*
 * Returns the names of the columns that a query gives; NIL where they are not known.
 */
static List *
result_names(Node *query, const List *aliases)
{
	SelectStmt *select = (SelectStmt *) query;
	List	   *names = NIL;
	List	   *columns;
	ListCell   *cell;

	if (query == NULL || !IsA(query, SelectStmt))
		return NIL;
	while (select->op != SETOP_NONE)
		select = select->larg;
	columns = select->valuesLists != NIL ? linitial(select->valuesLists) : select->targetList;
	foreach(cell, columns)
	{
		int			i = foreach_current_index(cell);
		const char *name;

		if (i < list_length(aliases))
			name = strVal(list_nth(aliases, i));
		else if (select->valuesLists != NIL)
			name = psprintf("column%d", i + 1);
		else
			name = architect_index_result_name(lfirst(cell));
		if (name == NULL)
			return NIL;
		names = lappend(names, pstrdup(name));
	}
	return names;
}

static IndexSource *
find_with(IndexScope *scope, const char *name)
{
	for (; scope != NULL; scope = scope->outer)
	{
		ListCell   *cell;

		foreach(cell, scope->with)
		{
			IndexSource *source = lfirst(cell);

			if (strcmp(source->name, name) == 0)
				return source;
		}
	}
	return NULL;
}

IndexSource *
architect_index_add_relation(IndexScope *scope, RangeVar *relation)
{
	IndexSource *source = add_source(scope, relation->alias != NULL ? relation->alias->aliasname : relation->relname);
	IndexSource *with = relation->schemaname == NULL ? find_with(scope, relation->relname) : NULL;
	IndexTable *table;

	if (with != NULL)
	{
		source->columns = relation->alias != NULL && relation->alias->colnames != NIL ? NIL : with->columns;
		return source;
	}

	/* Columns with other names are not looked into. */
	if (relation->alias != NULL && relation->alias->colnames != NIL)
		return source;
	table = architect_index_resolve_table(scope->names, relation);
	if (table == NULL)
		return source;
	source->access = palloc0(sizeof(IndexAccess));
	source->access->table = table;
	scope->query->accesses = lappend(scope->query->accesses, source->access);
	return source;
}

static void
add_subquery(IndexScope *scope, Node *query, Alias *alias, bool is_lateral)
{
	IndexSource *source;

	architect_index_read_part(scope, is_lateral || scope->sees_outer, query);
	source = add_source(scope, alias == NULL ? NULL : alias->aliasname);
	source->columns = result_names(query, alias == NULL ? NIL : alias->colnames);
}

/*
 * Adds what USING says: the columns of this name are equal.
 */
static void
read_using(IndexScope *scope, const List *names, const Bitmapset *left, const Bitmapset *right,
		   const Bitmapset *filtered)
{
	const Bitmapset *const arms[] = {left, right};
	ListCell   *cell;

	foreach(cell, names)
	{
		char	   *name = pstrdup(strVal(lfirst(cell)));

		scope->merged = lappend(scope->merged, name);
		for (int i = 0; i < lengthof(arms); i++)
		{
			int			number = -1;

			while ((number = bms_next_member(arms[i], number)) >= 0)
			{
				IndexSource *source = list_nth(scope->sources, number);
				int16		attnum = source->access == NULL ? 0 :
					architect_index_resolve_column(source->access->table, name);

				if (attnum == 0)
					continue;
				source->access->columns = bms_add_member(source->access->columns, attnum);
				if (bms_is_member(number, filtered))
					architect_index_add_join(source, attnum);
			}
		}
	}
}

/*
 * Returns the names that NATURAL has both arms joined by.  Where the columns of a source
 * are not known, all are read.
 */
static List *
natural_names(IndexScope *scope, const Bitmapset *left, const Bitmapset *right)
{
	Bitmapset  *all = bms_union(left, right);
	List	   *names = NIL;
	int			number = -1;
	int			other;

	while ((number = bms_next_member(all, number)) >= 0)
		((IndexSource *) list_nth(scope->sources, number))->reads_all = true;
	number = -1;
	while ((number = bms_next_member(left, number)) >= 0)
	{
		IndexSource *source = list_nth(scope->sources, number);
		const IndexTable *table = source->access == NULL ? NULL : source->access->table;

		for (int i = 0; table != NULL && i < table->ncolumns; i++)
		{
			for (other = -1; table->columns[i].name != NULL && (other = bms_next_member(right, other)) >= 0;)
			{
				const IndexSource *match = list_nth(scope->sources, other);

				if (match->access != NULL &&
					architect_index_resolve_column(match->access->table, table->columns[i].name) != 0)
					names = lappend(names, makeString(table->columns[i].name));
			}
		}
	}
	return names;
}

/*
 * Marks the sources whose columns are NULL in rows that found no match.
 */
static void
mark_nullable(IndexScope *scope, JoinType type, const Bitmapset *left, const Bitmapset *right)
{
	ListCell   *cell;

	foreach(cell, scope->sources)
	{
		IndexSource *source = lfirst(cell);

		if ((type != JOIN_RIGHT && type != JOIN_INNER && bms_is_member(source->number, right)) ||
			(type != JOIN_LEFT && type != JOIN_INNER && bms_is_member(source->number, left)))
			source->is_nullable = true;
	}
}

/*
 * A join with a name hides those of its sources, and with names for columns those too.
 */
static void
hide_names(IndexScope *scope, const Bitmapset *joined, const Alias *alias)
{
	int			number = -1;

	while ((number = bms_next_member(joined, number)) >= 0)
	{
		IndexSource *source = list_nth(scope->sources, number);

		source->name = NULL;
		source->reads_all = true;
		if (alias->colnames == NIL)
			continue;
		if (source->access != NULL)
			source->access->columns = NULL;
		source->access = NULL;
		source->columns = NIL;
	}
}

/*
 * Adds the two arms of a join.  Its condition asks nothing of the rows of an arm that
 * stay without a match.
 */
static Bitmapset *
add_join(IndexScope *scope, JoinExpr *join)
{
	Bitmapset  *left = architect_index_add_from(scope, join->larg);
	Bitmapset  *right = architect_index_add_from(scope, join->rarg);
	Bitmapset  *all = bms_union(left, right);
	Bitmapset  *filtered = NULL;

	if (join->jointype == JOIN_INNER)
		filtered = all;
	else if (join->jointype == JOIN_LEFT)
		filtered = right;
	else if (join->jointype == JOIN_RIGHT)
		filtered = left;
	architect_index_read_condition(scope, join->quals, filtered);
	read_using(scope, join->isNatural ? natural_names(scope, left, right) : join->usingClause, left, right, filtered);
	mark_nullable(scope, join->jointype, left, right);
	if (join->alias != NULL)
		hide_names(scope, all, join->alias);
	return all;
}

/*
 * Adds an item of FROM; returns the sources that it is made of.
 */
Bitmapset *
architect_index_add_from(IndexScope *scope, Node *item)
{
	int			before = list_length(scope->sources);
	Bitmapset  *added = NULL;

	check_stack_depth();
	switch (nodeTag(item))
	{
		case T_RangeVar:
			(void) architect_index_add_relation(scope, (RangeVar *) item);
			break;
		case T_RangeTableSample:
			return architect_index_add_from(scope, ((RangeTableSample *) item)->relation);
		case T_RangeSubselect:
			{
				RangeSubselect *query = (RangeSubselect *) item;

				add_subquery(scope, query->subquery, query->alias, query->lateral);
				break;
			}
		case T_JoinExpr:
			return add_join(scope, (JoinExpr *) item);
		case T_RangeFunction:
			{
				Alias	   *alias = ((RangeFunction *) item)->alias;

				(void) add_source(scope, alias == NULL ? NULL : alias->aliasname);
				break;
			}
		case T_RangeTableFunc:
			{
				Alias	   *alias = ((RangeTableFunc *) item)->alias;

				(void) add_source(scope, alias == NULL ? NULL : alias->aliasname);
				break;
			}
		default:
			(void) add_source(scope, NULL);
			break;
	}
	for (int i = before; i < list_length(scope->sources); i++)
		added = bms_add_member(added, i);
	return added;
}

void
architect_index_add_with(IndexScope *scope, WithClause *with)
{
	ListCell   *cell;

	if (with == NULL)
		return;
	foreach(cell, with->ctes)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);
		IndexSource *source = palloc0(sizeof(IndexSource));

		source->name = pstrdup(cte->ctename);
		source->columns = result_names(cte->ctequery, cte->aliascolnames);
		if (with->recursive)
			scope->with = lappend(scope->with, source);
		architect_index_read_part(scope, true, cte->ctequery);
		if (!with->recursive)
			scope->with = lappend(scope->with, source);
	}
}
