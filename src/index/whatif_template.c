/*
 * whatif_template.c
 *    What the planner is told of an index that does not exist: all that
 *    get_relation_info() would tell it if it did.
 */
#include "postgres.h"

#include <math.h>

#include "access/amapi.h"
#include "access/gist.h"
#include "access/nbtree.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic.h"
#include "nodes/makefuncs.h"
#include "optimizer/plancat.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "index/as_owner.h"
#include "index/definition.h"
#include "index/size.h"
#include "index/whatif_sample.h"

/* How full pages are that the size model does not know: of a btree, and of other trees. */
#define BTREE_FILL 0.9
#define TREE_FILL 0.48

/*
 * One column with so many values among the entries makes the key as good as unique; columns which together would
 * have fewer than the other share, if they did not depend on each other, have hardly fewer if they do.
 */
#define UNIQUE_SHARE 0.5
#define DEPENDENT_SHARE 0.05

/*
 * Has the definition's table be as big as it is now, and its columns be its own.
 */
static void
measure_table(WhatIfLeaf *leaf)
{
	IndexTable *table = palloc(sizeof(IndexTable));
	Relation	rel = table_open(leaf->definition->table->oid, AccessShareLock);
	BlockNumber pages;
	double		rows;
	double		all_visible;

	*table = *leaf->definition->table;
	estimate_rel_size(rel, NULL, &pages, &rows, &all_visible);
	table_close(rel, NoLock);
	table->pages = pages;
	table->rows = rows;
	leaf->definition->table = table;
	leaf->definition->columns = memcpy(palloc(leaf->definition->ncolumns * sizeof(IndexColumn)),
									   leaf->definition->columns, leaf->definition->ncolumns * sizeof(IndexColumn));
}

/*
 * True when an index-only scan can have the values of a column.
 */
static bool
can_return(const WhatIfLeaf *leaf, int number)
{
	const IndexOptInfo *info = &leaf->info;

	if (info->relam == BTREE_AM_OID)
		return true;
	if (info->relam != GIST_AM_OID)
		return false;
	return number >= info->nkeycolumns ||
		!OidIsValid(get_opfamily_proc(info->opfamily[number], info->opcintype[number], info->opcintype[number],
									  GIST_COMPRESS_PROC)) ||
		OidIsValid(get_opfamily_proc(info->opfamily[number], info->opcintype[number], info->opcintype[number],
									 GIST_FETCH_PROC));
}

static void
fill_columns(WhatIfLeaf *leaf)
{
	const IndexDefinition *index = leaf->definition;
	IndexOptInfo *info = &leaf->info;
	ListCell   *expression = list_head(info->indexprs);

	for (int i = 0; i < index->ncolumns; i++)
	{
		Expr	   *value;

		info->indexkeys[i] = index->attnums[i];
		if (index->attnums[i] > 0)
		{
			const IndexColumn *column = &index->table->columns[index->attnums[i] - 1];

			value = (Expr *) makeVar(1, index->attnums[i], column->type, column->typmod, column->collation, 0);
		}
		else
		{
			value = lfirst(expression);
			expression = lnext(info->indexprs, expression);
		}
		info->indextlist = lappend(info->indextlist, makeTargetEntry(value, i + 1, NULL, false));
		if (i < index->nkeys)
		{
			get_opclass_opfamily_and_input_type(index->opclasses[i], &info->opfamily[i], &info->opcintype[i]);
			info->indexcollations[i] = index->collations[i];
		}
		info->canreturn[i] = can_return(leaf, i);
	}
}

static void
fill_order(WhatIfLeaf *leaf)
{
	IndexOptInfo *info = &leaf->info;

	info->sortopfamily = info->opfamily;
	info->reverse_sort = palloc(info->nkeycolumns * sizeof(bool));
	info->nulls_first = palloc(info->nkeycolumns * sizeof(bool));
	for (int i = 0; i < info->nkeycolumns; i++)
	{
		info->reverse_sort[i] = (leaf->definition->options[i] & INDOPTION_DESC) != 0;
		info->nulls_first[i] = (leaf->definition->options[i] & INDOPTION_NULLS_FIRST) != 0;
	}
}

static void
fill_method(IndexOptInfo *info)
{
	IndexAmRoutine *method = GetIndexAmRoutineByAmId(info->relam, false);

	info->amcanorderbyop = method->amcanorderbyop;
	info->amoptionalkey = method->amoptionalkey;
	info->amsearcharray = method->amsearcharray;
	info->amsearchnulls = method->amsearchnulls;
	info->amcanparallel = method->amcanparallel;
	info->amhasgettuple = method->amgettuple != NULL;
	info->amhasgetbitmap = method->amgetbitmap != NULL;
	info->amcanmarkpos = method->ammarkpos != NULL && method->amrestrpos != NULL;
	info->amcostestimate = info->relam == BRIN_AM_OID ? architect_whatif_brin_cost : method->amcostestimate;
}

/*
 * Returns a size where the model knows none, by how wide values are where that is known.
 */
static double
guess_bytes(const IndexDefinition *index, double entries)
{
	double		fill = index->access_method == BTREE_AM_OID ? BTREE_FILL : TREE_FILL;
	double		width = 0;

	for (int i = 0; i < index->ncolumns; i++)
	{
		const IndexColumn *stored = &index->columns[i];
		const IndexColumn *column = index->attnums[i] > 0 ? &index->table->columns[index->attnums[i] - 1] : stored;

		if (stored->length > 0)
			width += stored->length;
		else if (column->has_statistics && column->type == stored->type)
			width += column->width;
		else
			width += get_typavgwidth(stored->type, -1);
	}
	width = MAXALIGN((int) width) + sizeof(IndexTupleData) + sizeof(ItemIdData);
	return (ceil(entries * width / (BLCKSZ * fill)) + 1) * BLCKSZ;
}

/*
 * True when the catalogs do not say enough of what the index would have in it.
 */
static bool
wants_sample(const IndexDefinition *index)
{
	return index->expressions != NULL || index->predicate != NULL || index->access_method == GIN_AM_OID;
}

/*
 * Takes the statistics of an expression, for the planner and for the size.
 */
static void
take_statistics(WhatIfLeaf *leaf, int number, const WhatIfEntries *entries)
{
	IndexColumn *column = &leaf->definition->columns[number];
	HeapTuple	row = architect_whatif_analyze(leaf, number, entries);
	Form_pg_statistic statistics;
	MemoryContext before;

	if (row == NULL)
		return;
	statistics = (Form_pg_statistic) GETSTRUCT(row);
	column->has_statistics = true;
	column->null_share = statistics->stanullfrac;
	column->width = statistics->stawidth;
	column->distinct = statistics->stadistinct;
	before = MemoryContextSwitchTo(leaf->index->context);
	leaf->statistics[number] = heap_copytuple(row);
	(void) MemoryContextSwitchTo(before);
}

/*
 * Takes what a sample says of the index; false where there is none.
 */
static bool
take_sample(WhatIfLeaf *leaf)
{
	IndexDefinition *index = leaf->definition;
	const WhatIfSample *sample = architect_whatif_sample(leaf->index->world, index->table->oid);
	MemoryContext scratch;
	MemoryContext before;
	WhatIfEntries *entries;

	if (sample == NULL || sample->nrows == 0)
		return false;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "what-if entries", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(scratch);
	entries = architect_whatif_entries(leaf, sample);
	if (index->predicate != NULL)
		leaf->share = (double) entries->nentries / sample->nrows;
	for (int i = 0; i < index->ncolumns; i++)
	{
		if (index->attnums[i] == 0)
			take_statistics(leaf, i, entries);
	}
	if (index->access_method == GIN_AM_OID)
		architect_whatif_inverted_size(leaf, entries);
	(void) MemoryContextSwitchTo(before);
	MemoryContextDelete(scratch);
	return true;
}

/*
 * True when equal keys share entries, and statistics of the columns leave open how many
 * are equal.
 */
static bool
wants_combinations(const IndexDefinition *index, const IndexShape *shape)
{
	double		independent = 1;

	if (index->access_method != BTREE_AM_OID || !shape->deduplicates || shape->distinct > 0 || index->nkeys == 1 ||
		index->expressions != NULL || index->predicate != NULL)
		return false;
	for (int i = 0; i < index->nkeys; i++)
	{
		if (shape->columns[i].distinct > UNIQUE_SHARE * shape->entries)
			return false;
		independent *= shape->columns[i].distinct;
	}
	return independent > DEPENDENT_SHARE * shape->entries;
}

/*
 * Sets how big the index is.
 */
static void
fill_size(WhatIfLeaf *leaf)
{
	IndexDefinition *index = leaf->definition;
	double		rows = Max(index->table->rows, 0);
	IndexShape *shape;

	leaf->share = 1;
	if (index->predicate != NULL && index->rows >= 0 && rows > 0)
		leaf->share = Min(index->rows / rows, 1);
	leaf->info.tree_height = -1;
	if (wants_sample(index) && take_sample(leaf) && index->access_method == GIN_AM_OID)
		return;
	index->rows = leaf->share * rows;
	shape = architect_index_shape(index, index->rows, &leaf->problem);
	if (shape != NULL && wants_combinations(index, shape))
		shape->distinct = architect_whatif_combinations(leaf->index->world, index);
	leaf->bytes = shape != NULL ? architect_index_shape_size(shape) : guess_bytes(index, index->rows);
	leaf->info.pages = Max(leaf->bytes / BLCKSZ, 1);
	if (index->access_method == BTREE_AM_OID)
		leaf->info.tree_height = architect_index_btree_height(shape, leaf->info.pages);
}

/*
 * Fills what the planner is told, in the memory context of the index.
 */
void
architect_whatif_fill(WhatIfLeaf *leaf)
{
	IndexDefinition *index = leaf->definition;
	IndexOptInfo *info = &leaf->info;
	IndexUser	user;

	measure_table(leaf);
	leaf->statistics = palloc0(index->ncolumns * sizeof(HeapTuple));
	architect_index_begin_as_owner(index->table, &user);
	info->indexprs = architect_index_expressions(index);
	info->indpred = architect_index_predicate(index);
	architect_index_end_as_owner(&user);
	info->type = T_IndexOptInfo;
	info->indexoid = leaf->oid;
	info->reltablespace = index->tablespace;
	info->relam = index->access_method;
	info->ncolumns = index->ncolumns;
	info->nkeycolumns = index->nkeys;
	info->indexkeys = palloc(index->ncolumns * sizeof(int));
	info->canreturn = palloc(index->ncolumns * sizeof(bool));
	info->indexcollations = palloc(index->nkeys * sizeof(Oid));
	info->opfamily = palloc(index->nkeys * sizeof(Oid));
	info->opcintype = palloc(index->nkeys * sizeof(Oid));
	info->opclassoptions = palloc0(index->nkeys * sizeof(bytea *));
	info->unique = index->is_unique;
	info->immediate = true;
	info->hypothetical = true;
	architect_set_nulls_not_distinct(info, index->nulls_not_distinct);
	fill_columns(leaf);
	if (info->relam == BTREE_AM_OID)
		fill_order(leaf);
	fill_method(info);
	fill_size(leaf);
}
