/*
 * advise_change.c
 *    What statements change, by their plans: which table, which columns, how many rows.
 *
 * A plan has a node for all that it changes, in WITH too.  What triggers, rules of other
 * tables' foreign keys and functions change besides is not in it.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

#include "index/advise.h"

/* Plans that are being read. */
typedef struct Reading
{
	IndexFacts *facts;
	const PlannedStmt *statement;
	List	   *changes;		/* AdviseChange */
} Reading;

/*
 * Returns the columns of a table that have these numbers in another, or in the same: a
 * partition has them in an order of its own.
 */
Bitmapset *
architect_advise_translate(const IndexTable *from, const IndexTable *to, const Bitmapset *columns)
{
	Bitmapset  *translated = NULL;
	int			attnum = -1;

	if (from == to)
		return bms_copy(columns);
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		const char *name = attnum <= from->ncolumns ? from->columns[attnum - 1].name : NULL;

		for (int i = 0; i < to->ncolumns && name != NULL; i++)
		{
			if (to->columns[i].name != NULL && strcmp(to->columns[i].name, name) == 0)
				translated = bms_add_member(translated, i + 1);
		}
	}
	return translated;
}

static bool
has_generated(const IndexTable *table)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].generated == ATTRIBUTE_GENERATED_STORED)
			return true;
	}
	return false;
}

/*
 * Adds the stored columns that are computed of those that are set.  The table is locked.
 */
static Bitmapset *
add_generated(const IndexTable *table, Bitmapset *assigned)
{
	Relation	rel;
	TupleConstr *constraints;

	if (!has_generated(table))
		return assigned;
	rel = table_open(table->oid, AccessShareLock);
	constraints = RelationGetDescr(rel)->constr;
	for (int i = 0; constraints != NULL && i < constraints->num_defval; i++)
	{
		const AttrDefault *value = &constraints->defval[i];
		Bitmapset  *sources = NULL;
		int			member = -1;

		if (TupleDescAttr(RelationGetDescr(rel), value->adnum - 1)->attgenerated != ATTRIBUTE_GENERATED_STORED)
			continue;
		pull_varattnos(stringToNode(value->adbin), 1, &sources);
		while ((member = bms_next_member(sources, member)) >= 0)
		{
			if (bms_is_member(member + FirstLowInvalidHeapAttributeNumber, assigned))
				assigned = bms_add_member(assigned, value->adnum);
		}
	}
	table_close(rel, NoLock);
	return assigned;
}

static IndexTable *
find_target(const Reading *reading, Index position)
{
	return architect_index_find_table(reading->facts, rt_fetch(position, reading->statement->rtable)->relid);
}

static void
add_change(Reading *reading, IndexTable *table, CmdType command, Bitmapset *assigned, double rows)
{
	AdviseChange *change = palloc(sizeof(AdviseChange));

	change->table = table;
	change->command = command;
	change->assigned = command == CMD_UPDATE ? add_generated(table, assigned) : NULL;
	change->rows = rows;
	reading->changes = lappend(reading->changes, change);
}

static Bitmapset *
list_columns(const List *numbers)
{
	Bitmapset  *columns = NULL;
	ListCell   *cell;

	foreach(cell, numbers)
		columns = bms_add_member(columns, lfirst_int(cell));
	return columns;
}

/*
 * Adds the actions of a MERGE, each of which is taken for as many rows as the others.
 */
static void
add_actions(Reading *reading, IndexTable *table, const IndexTable *first, const List *actions, double rows)
{
	ListCell   *cell;

	foreach(cell, actions)
	{
		MergeAction *action = lfirst_node(MergeAction, cell);

		if (action->commandType != CMD_NOTHING)
			add_change(reading, table, action->commandType,
					   architect_advise_translate(first, table, list_columns(action->updateColnos)),
					   rows / list_length(actions));
	}
}

/*
 * Adds what a node does with a table.  The columns that it sets are numbered as those of
 * the first of its targets are.
 */
static void
add_table(Reading *reading, const ModifyTable *node, IndexTable *table, double rows)
{
	const IndexTable *first = find_target(reading, linitial_int(node->resultRelations));
	bool		updates = node->onConflictAction == ONCONFLICT_UPDATE;
	List	   *numbers = node->operation == CMD_UPDATE ? linitial(node->updateColnosLists) : node->onConflictCols;
	Bitmapset  *assigned;

	if (table == NULL || first == NULL)
		return;
	if (node->operation == CMD_MERGE)
	{
		add_actions(reading, table, first, linitial(node->mergeActionLists), rows);
		return;
	}
	assigned = architect_advise_translate(first, table, list_columns(numbers));

	/* Whether there is a conflict is known when it is run: half of the rows have one. */
	if (updates)
		rows /= 2;
	add_change(reading, table, node->operation, assigned, rows);
	if (updates)
		add_change(reading, table, CMD_UPDATE, bms_copy(assigned), rows);
}

/*
 * Adds what is done with each table of an inheritance tree, by how many rows it has.
 */
static void
add_heirs(Reading *reading, const ModifyTable *node, double rows)
{
	double		total = 0;
	ListCell   *cell;

	foreach(cell, node->resultRelations)
	{
		const IndexTable *table = find_target(reading, lfirst_int(cell));

		total += table == NULL ? 0 : Max(table->rows, 1);
	}
	foreach(cell, node->resultRelations)
	{
		IndexTable *table = find_target(reading, lfirst_int(cell));

		if (table != NULL)
			add_table(reading, node, table, rows * Max(table->rows, 1) / total);
	}
}

static void
read_node(Plan *plan, void *argument)
{
	Reading    *reading = argument;
	const ModifyTable *node = (const ModifyTable *) plan;
	IndexTable *named;
	double		rows;

	if (!IsA(plan, ModifyTable) || node->resultRelations == NIL)
		return;
	rows = outerPlan(plan)->plan_rows;
	named = find_target(reading, node->nominalRelation);
	if (named != NULL && named->kind == RELKIND_PARTITIONED_TABLE)
		add_table(reading, node, named, rows);
	else
		add_heirs(reading, node, rows);
}

/*
 * Returns what plans, which are made and locked, change: an AdviseChange a table, and of
 * MERGE and ON CONFLICT an action.
 */
List *
architect_advise_changes(IndexFacts *facts, const List *plans)
{
	Reading		reading = {.facts = facts};
	ListCell   *cell;

	foreach(cell, plans)
	{
		reading.statement = lfirst_node(PlannedStmt, cell);
		architect_whatif_walk(reading.statement, read_node, &reading);
	}
	return reading.changes;
}
