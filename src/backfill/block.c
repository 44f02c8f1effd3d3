/*
 * block.c
 *    The walk in block order: windows of blocks, and in each window one stripe after
 *    the other.
 *
 * A stripe is every k-th line pointer.  When a stripe is committed, the old versions
 * of its rows can be pruned, and make room on their pages for the new versions of the
 * next stripe.  So all but the first stay where they are, and need no index entries.
 */
#include "postgres.h"

#include <math.h>

#include "access/heapam.h"
#include "access/table.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "backfill/run.h"

#define FIRST_SIZE 8			/* blocks of a batch */
#define LEAST_SIZE 1
#define MOST_BATCHES 20			/* of a stripe */

#define SAMPLE 8				/* pages */

/* Blocks of a relation in the order in which they are worked on. */
typedef struct Window
{
	Oid			relation;
	BlockNumber first;
	BlockNumber end;
	int			stripes;
} Window;

/*
 * Returns how many stripes the rows of this page want: so few that the rows of one fit
 * where the page is free, or where the first stripe makes room.
 */
static int
count_page_stripes(Page page)
{
	int			rows = 0;
	Size		bytes = 0;
	double		fit;

	if (PageIsNew(page))
		return 1;
	for (OffsetNumber i = FirstOffsetNumber; i <= PageGetMaxOffsetNumber(page); i++)
	{
		ItemId		item = PageGetItemId(page, i);

		if (ItemIdIsNormal(item))
		{
			rows++;
			bytes += MAXALIGN(ItemIdGetLength(item)) + sizeof(ItemIdData);
		}
	}
	if (rows <= 1)
		return 1;

	/* A value that was NULL takes some bytes more. */
	fit = PageGetHeapFreeSpace(page) / ((double) bytes / rows + sizeof(Datum));
	return fit >= rows ? 1 : Min(rows, ceil(rows / Max(fit, 1)));
}

/*
 * Returns how many stripes the pages of a window want: one where few of their rows are
 * to be changed.
 */
static int
choose_stripes(BackfillRun *run, Relation rel, const Window *window)
{
	int			most = run->leaf->can_be_hot ? run->most_stripes : BACKFILL_STRIPES_NOT_HOT;
	BlockNumber step = Max((window->end - window->first) / SAMPLE, 1);
	int			stripes = 1;

	if (run->is_sparse)
		return 1;
	for (BlockNumber block = window->first; block < window->end; block += step)
	{
		Buffer		buffer = ReadBuffer(rel, block);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		stripes = Max(stripes, count_page_stripes(BufferGetPage(buffer)));
		UnlockReleaseBuffer(buffer);
	}
	return Min(stripes, most);
}

/*
 * Appends the places of the rows of this stripe on one page, which is pruned before.
 */
static void
collect_places(Relation rel, BlockNumber block, int stripes, int stripe, BackfillRange *range)
{
	Buffer		buffer = ReadBuffer(rel, block);
	Page		page = BufferGetPage(buffer);

	heap_page_prune_opt(rel, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber i = stripe == 0 ? stripes : stripe; i <= PageGetMaxOffsetNumber(page); i += stripes)
	{
		if (ItemIdIsNormal(PageGetItemId(page, i)))
		{
			ItemPointerSet(&range->places[range->nplaces], block, i);
			range->nplaces++;
		}
	}
	UnlockReleaseBuffer(buffer);
}

/*
 * Returns the rows of one stripe, of a window that is open and locked.  Where a window
 * is one stripe, it is read block by block, and else row by row.
 */
static BackfillRange
find_rows(BackfillRun *run, Relation rel, const Window *window, int stripe)
{
	BackfillRange range = {.kind = BACKFILL_RANGE_SPAN};
	Size		size;

	ItemPointerSet(&range.from, window->first, 0);
	ItemPointerSet(&range.to, window->end, 0);
	if (window->stripes == 1)
		return range;

	range.kind = BACKFILL_RANGE_PLACES;
	size = (window->end - window->first) * (MaxHeapTuplesPerPage / window->stripes + 1) * sizeof(ItemPointerData);
	if (run->places_size < size)
	{
		run->places = run->places == NULL ? MemoryContextAlloc(run->context, size) : repalloc(run->places, size);
		run->places_size = size;
	}
	range.places = run->places;
	for (BlockNumber block = window->first; block < window->end; block++)
		collect_places(rel, block, window->stripes, stripe, &range);
	return range;
}

/* What a transaction of this walk does, so that it can be tried. */
typedef struct Opening
{
	BackfillRun *run;
	Window	   *window;			/* or a part of it */
	int			stripe;
	bool		chooses;		/* how many stripes */
	bool		begins;			/* its rows are still to be found */
	bool		gone;
	BackfillRange range;
} Opening;

/*
 * Locks the relation for the rest of the transaction and takes it in hand.
 */
static void
open_relation(void *argument)
{
	Opening    *opening = argument;
	BackfillRun *run = opening->run;
	Window	   *window = opening->window;
	Relation	rel = try_table_open(window->relation, RowExclusiveLock);
	BlockNumber blocks;

	opening->gone = rel == NULL;
	if (rel == NULL)
		return;
	architect_backfill_check_shape(run->job);
	architect_backfill_check_leaf(rel, run->job->owner);
	architect_backfill_open_leaf(run, rel);

	/* VACUUM may have taken blocks from the end. */
	blocks = RelationGetNumberOfBlocks(rel);
	window->end = Min(window->end, blocks);
	opening->gone = window->first >= window->end;
	if (!opening->gone && opening->begins)
	{
		if (opening->chooses)
			window->stripes = run->sweeping ? 1 : choose_stripes(run, rel, window);
		opening->range = find_rows(run, rel, window, opening->stripe);
		opening->begins = false;
	}
	table_close(rel, NoLock);
}

/*
 * Takes the relation of a part of a window in hand.  DONE: go ahead; BUSY: a lock is in the way.
 */
static BackfillOutcome
open_part(BackfillRun *run, Opening *opening)
{
	ErrorData  *error = architect_backfill_try(open_relation, opening);

	if (error == NULL)
		return BACKFILL_DONE;
	if (!architect_backfill_is_busy(error))
		architect_backfill_fail(run, error);
	return BACKFILL_BUSY;
}

/*
 * Changes the rows of one stripe in a part of a window, in one transaction as a rule.
 */
static BackfillOutcome
change_part(BackfillRun *run, Window *part, int stripe, bool chooses)
{
	Opening		opening = {run, part, stripe, chooses, .begins = true};
	BlockNumber blocks = part->end - part->first;
	BackfillOutcome outcome;

	run->longest = 0;
	do
	{
		if (!architect_backfill_begin_batch(run))
			return BACKFILL_STOPPED;
		outcome = open_part(run, &opening);
		if (outcome == BACKFILL_DONE && !opening.gone)
			outcome = architect_backfill_change(run, &opening.range);
		architect_backfill_learn_aim(run);
		architect_backfill_end_batch(run);
		if (outcome == BACKFILL_BUSY && !architect_backfill_back_off(run))
			return BACKFILL_STOPPED;
	} while (outcome == BACKFILL_BUSY);

	run->attempt = 0;
	if (blocks >= run->size || run->longest > run->aim)
		run->size = architect_backfill_next_size(run->size, run->longest, run->aim);
	run->size = Min(Max(run->size, LEAST_SIZE), Max(NBuffers / 8, LEAST_SIZE));
	return BACKFILL_DONE;
}

/*
 * Changes the rows of one stripe of a window, a part after the other.
 */
static BackfillOutcome
change_stripe(BackfillRun *run, Window *window, int stripe)
{
	BlockNumber block = window->first;

	while (block < window->end)
	{
		Window		part = *window;
		BackfillOutcome outcome;

		part.first = block;
		if (run->size < window->end - block)
			part.end = block + run->size;
		block = part.end;
		outcome = change_part(run, &part, stripe, stripe == 0 && part.first == window->first);
		if (outcome != BACKFILL_DONE)
			return outcome;
		window->stripes = part.stripes;
	}
	return BACKFILL_DONE;
}

/*
 * Fewer stripes where they do not keep rows on their pages, as when an old snapshot
 * holds back pruning; now and then that is tried anew.
 */
static void
learn_stripes(BackfillRun *run, int stripes)
{
	double		hoped = 1.0 - 1.0 / stripes;

	if (stripes > 1 && run->window_rows >= 100 && run->window_hot < run->window_rows * hoped / 2)
		run->most_stripes = Max(run->most_stripes / 2, 1);
	else if (++run->windows % 16 == 0 && run->most_stripes < BACKFILL_STRIPES)
		run->most_stripes = Min(run->most_stripes * 2, BACKFILL_STRIPES);
}

/*
 * Changes the rows of a window, stripe by stripe.
 */
static BackfillOutcome
change_window(BackfillRun *run, Window *window)
{
	BlockNumber blocks = window->end - window->first;
	int			stripe = 0;

	architect_backfill_begin_window();
	run->window_seen = run->window_rows = run->window_hot = 0;
	window->stripes = 1;
	do
	{
		BackfillOutcome outcome;

		run->open_blocks = (int64) blocks * (window->stripes - stripe) / window->stripes;
		outcome = change_stripe(run, window, stripe);
		if (outcome != BACKFILL_DONE)
			return outcome;
	} while (++stripe < window->stripes);
	run->open_blocks = 0;

	run->is_sparse = run->window_rows < run->window_seen / 8;
	if (run->leaf != NULL && run->leaf->can_be_hot)
		learn_stripes(run, window->stripes);
	return BACKFILL_DONE;
}

/*
 * Returns how many blocks the next window has.  When batches are short, lest others
 * wait, a stripe is several of them: the old versions of one stripe can be pruned only
 * when transactions that see them have ended, and that takes time.
 */
static double
window_size(const BackfillRun *run)
{
	return run->size * Min(Max(run->job->batch_time / run->aim, 1), MOST_BATCHES);
}

/*
 * Walks over what no other worker has claimed.
 */
BackfillOutcome
architect_backfill_walk_blocks(BackfillRun *run)
{
	Window		window;

	run->size = FIRST_SIZE;
	run->aim = run->job->batch_time;
	run->most_stripes = BACKFILL_STRIPES;
	for (;;)
	{
		bool		found = architect_backfill_claim(run->job->id, window_size(run), &window.relation, &window.first,
													 &window.end);
		BackfillOutcome outcome;

		architect_backfill_commit(run);
		if (!found)
			return BACKFILL_DONE;
		run->claimed = window.relation;
		run->claimed_first = window.first;
		outcome = change_window(run, &window);
		if (outcome != BACKFILL_DONE)
			architect_backfill_give_back(run);
		run->claimed = InvalidOid;
		if (outcome != BACKFILL_DONE)
		{
			architect_backfill_commit(run);
			return outcome;
		}
	}
}

/*
 * Gives back the window in hand, if there is one, for a later run to claim.
 */
void
architect_backfill_give_back(BackfillRun *run)
{
	if (OidIsValid(run->claimed))
		architect_backfill_return(run->job->id, run->claimed, run->claimed_first);
}
