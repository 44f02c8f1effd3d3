/*
 * jsonb_sample.c
 *    Reads blocks of a table here and there, and has the documents in them counted.
 *
 * The table, all its partitions in a row, is cut into as many stretches as blocks are
 * to be read, and one block is chosen in each: so what changes from the beginning of
 * a table to its end is in the sample as it is in the table.  Documents of one block
 * are often alike, so that many blocks tell more than many rows of a few: of each
 * block some rows are taken, any row with the same probability.  The blocks are read
 * in no order, so that the sample may end at any of them, when it tells enough or
 * documents are large.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/jsonb.h"

#define MOST_PAGES 10000		/* are read, unless a share is asked for that has more */

/* Where none is asked for, the sample ends with one of these. */
#define MOST_ROWS 30000
#define MOST_BYTES (128.0 * 1024 * 1024)	/* of documents of one column */
#define ENOUGH_ERROR 0.007		/* in 95 cases of 100, so 0.01 in 99 of 100 */
#define PAGES_A_LOOK 1000		/* and then it is looked at */

/* A table, or a partition, with blocks. */
typedef struct Leaf
{
	Relation	rel;
	double		first;			/* of its blocks, in the row of all */
	double		end;
	AttrNumber *attnums;		/* of the columns of the sample */
	List	   *locked;			/* where its rows are stored out of line */
	TableScanDesc scan;
	TupleTableSlot *slot;
} Leaf;

/*
 * Locks a relation for reading; returns why that cannot be done, where that would have
 * to wait and must not, or where it is gone.
 */
const char *
architect_jsonb_lock(Oid relation, bool waits)
{
	if (waits)
		LockRelationOid(relation, AccessShareLock);
	else if (!ConditionalLockRelationOid(relation, AccessShareLock))
		return "it is locked";
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		return NULL;
	UnlockRelationOid(relation, AccessShareLock);
	return "it has just been dropped";
}

/*
 * Locks where a leaf's rows are stored out of line, so that reading them never waits.
 */
static const char *
lock_toast(Leaf *leaf)
{
	Oid			toast = leaf->rel->rd_rel->reltoastrelid;
	const char *problem = architect_jsonb_lock(toast, false);
	Relation	rel;
	ListCell   *cell;

	if (problem != NULL)
		return problem;
	leaf->locked = list_make1_oid(toast);
	rel = relation_open(toast, NoLock);
	foreach(cell, RelationGetIndexList(rel))
	{
		problem = problem != NULL ? problem : architect_jsonb_lock(lfirst_oid(cell), false);
		if (problem == NULL)
			leaf->locked = lappend_oid(leaf->locked, lfirst_oid(cell));
	}
	relation_close(rel, NoLock);
	return problem;
}

/*
 * Finds the columns in a leaf; false where one is not there any more.
 */
static bool
find_columns(const JsonbSample *sample, Leaf *leaf)
{
	leaf->attnums = palloc(sample->ncolumns * sizeof(AttrNumber));
	for (int i = 0; i < sample->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(leaf->rel), sample->columns[i].name);

		if (attnum <= 0 ||
			getBaseType(TupleDescAttr(RelationGetDescr(leaf->rel), attnum - 1)->atttypid) != JSONBOID)
			return false;
		leaf->attnums[i] = attnum;
	}
	return true;
}

/*
 * Opens a table, or its partitions, into the list; false with the problem set where
 * one cannot be read.
 */
static bool
open_leaves(JsonbSample *sample, const IndexTable *table, bool waits, List **leaves)
{
	ListCell   *cell;
	Leaf	   *leaf;

	if (table->kind == RELKIND_PARTITIONED_TABLE)
	{
		foreach(cell, table->partitions)
		{
			if (!open_leaves(sample, lfirst(cell), waits, leaves))
				return false;
		}
		return true;
	}

	sample->problem = architect_jsonb_lock(table->oid, waits);
	if (sample->problem != NULL)
		return false;
	leaf = palloc0(sizeof(Leaf));
	leaf->rel = relation_open(table->oid, NoLock);
	*leaves = lappend(*leaves, leaf);
	if (!waits && OidIsValid(leaf->rel->rd_rel->reltoastrelid))
		sample->problem = lock_toast(leaf);
	if (sample->problem != NULL)
		return false;
	if (!find_columns(sample, leaf))
		sample->problem = "its columns have just been changed";
	else if (leaf->rel->rd_tableam == NULL || leaf->rel->rd_tableam->scan_set_tidrange == NULL)
		sample->problem = "its access method cannot read single blocks";
	else
	{
		leaf->first = sample->pages;
		sample->pages += RelationGetNumberOfBlocks(leaf->rel);
		leaf->end = sample->pages;
	}
	return sample->problem == NULL;
}

static void
close_leaves(List *leaves)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, leaves)
	{
		Leaf	   *leaf = lfirst(cell);

		if (leaf->scan != NULL)
		{
			table_endscan(leaf->scan);
			ExecDropSingleTupleTableSlot(leaf->slot);
		}
		foreach(inner, leaf->locked)
			UnlockRelationOid(lfirst_oid(inner), AccessShareLock);
		relation_close(leaf->rel, AccessShareLock);
	}
}

/*
 * Returns how many blocks to read, and sets the share of their rows to take.  The
 * percentage is NaN where none is asked for.
 */
static int
choose_size(JsonbSample *sample, double percent)
{
	const IndexTable *table = sample->table;
	double		pages = Min(sample->pages, MOST_PAGES);
	double		rows = pages * (table->rows / Max(table->pages, 1));

	if (!isnan(percent))
	{
		pages = Max(pages, ceil(sample->pages * percent / 100));
		sample->share = Min(1, sample->pages / Max(pages, 1) * percent / 100);
	}
	else
		sample->share = rows > MOST_ROWS ? MOST_ROWS / rows : 1;
	return pages;
}

/*
 * Returns the blocks to read, one of each stretch, in no order.
 */
static double *
choose_blocks(const JsonbSample *sample, int count)
{
	double	   *blocks = palloc0(Max(count, 1) * sizeof(double));

	for (int i = 0; i < count; i++)
	{
		double		first = floor(sample->pages * i / count);
		double		end = floor(sample->pages * (i + 1) / count);
		int			place = pg_prng_uint64_range(&pg_global_prng_state, 0, i);

		blocks[i] = blocks[place];
		blocks[place] = pg_prng_uint64_range(&pg_global_prng_state, first, end - 1);
	}
	return blocks;
}

static Leaf *
find_leaf(const List *leaves, double block)
{
	int			low = 0;
	int			high = list_length(leaves) - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (block < ((Leaf *) list_nth(leaves, middle))->end)
			high = middle;
		else
			low = middle + 1;
	}
	return list_nth(leaves, low);
}

/*
 * Has the server fetch a block while we are busy with others.
 */
static void
prefetch_block(const List *leaves, double block)
{
	Leaf	   *leaf = find_leaf(leaves, block);

	(void) PrefetchBuffer(leaf->rel, MAIN_FORKNUM, block - leaf->first);
}

/*
 * Sets a leaf's scan to one block.
 */
static void
begin_block(Leaf *leaf, BlockNumber block)
{
	ItemPointerData first;
	ItemPointerData last;

	ItemPointerSet(&first, block, 0);
	ItemPointerSet(&last, block, PG_UINT16_MAX);
	if (leaf->scan == NULL)
	{
		leaf->slot = table_slot_create(leaf->rel, NULL);
		leaf->scan = table_beginscan_tidrange(leaf->rel, GetActiveSnapshot(), &first, &last);
	}
	else
		table_rescan_tidrange(leaf->scan, &first, &last);
}

static void
read_block(JsonbSample *sample, Leaf *leaf, BlockNumber block)
{
	MemoryContext caller = CurrentMemoryContext;

	begin_block(leaf, block);
	while (table_scan_getnextslot_tidrange(leaf->scan, ForwardScanDirection, leaf->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (sample->share < 1 && pg_prng_double(&pg_global_prng_state) >= sample->share)
			continue;
		(void) MemoryContextSwitchTo(sample->row);
		sample->rows++;
		for (int i = 0; i < sample->ncolumns; i++)
		{
			bool		isnull;
			Datum		document = slot_getattr(leaf->slot, leaf->attnums[i], &isnull);

			if (!isnull)
				architect_jsonb_note(sample, &sample->columns[i], document);
		}
		(void) MemoryContextSwitchTo(caller);
		MemoryContextReset(sample->row);
	}
	ExecClearTuple(leaf->slot);
	for (int i = 0; i < sample->ncolumns; i++)
		architect_jsonb_end_block(&sample->columns[i]);
	sample->pages_read++;
}

/*
 * True when what was read tells enough, or has to do.
 */
static bool
is_enough(const JsonbSample *sample)
{
	bool		is_enough = sample->pages_read > 0 && fmod(sample->pages_read, PAGES_A_LOOK) == 0;

	for (int i = 0; i < sample->ncolumns; i++)
	{
		if (sample->columns[i].read > MOST_BYTES)
			return true;
		is_enough = is_enough && architect_jsonb_worst_error(sample, &sample->columns[i]) <= ENOUGH_ERROR;
	}
	return is_enough || sample->rows > MOST_ROWS;
}

static void
read_blocks(JsonbSample *sample, const List *leaves, double percent)
{
	int			count = choose_size(sample, percent);
	double	   *blocks = choose_blocks(sample, count);
	int			ahead = maintenance_io_concurrency;

	for (int i = 0; i < Min(ahead, count); i++)
		prefetch_block(leaves, blocks[i]);
	for (int i = 0; i < count && !(isnan(percent) && is_enough(sample)); i++)
	{
		Leaf	   *leaf = find_leaf(leaves, blocks[i]);

		if (ahead > 0 && i + ahead < count)
			prefetch_block(leaves, blocks[i + ahead]);
		read_block(sample, leaf, blocks[i] - leaf->first);
	}
}

/*
 * Reads a sample of the columns of these numbers, in the current memory context: a
 * share of the blocks, or, where it is NaN, as many as tell enough.  A table that is
 * locked is waited for, or not.
 */
JsonbSample *
architect_jsonb_read(IndexTable *table, const List *attnums, double percent, bool waits)
{
	JsonbSample *sample = palloc0(sizeof(JsonbSample));
	List	   *leaves = NIL;
	ListCell   *cell;

	sample->table = table;
	sample->context = CurrentMemoryContext;
	sample->row = AllocSetContextCreate(CurrentMemoryContext, "jsonb document", ALLOCSET_DEFAULT_SIZES);
	sample->ncolumns = list_length(attnums);
	sample->columns = palloc0(sample->ncolumns * sizeof(JsonbColumn));
	foreach(cell, attnums)
	{
		JsonbColumn *column = &sample->columns[foreach_current_index(cell)];

		column->attnum = lfirst_int(cell);
		column->name = table->columns[column->attnum - 1].name;
		architect_jsonb_begin_column(sample, column);
	}

	if (open_leaves(sample, table, waits, &leaves))
		read_blocks(sample, leaves, percent);
	close_leaves(leaves);
	MemoryContextDelete(sample->row);
	return sample;
}
