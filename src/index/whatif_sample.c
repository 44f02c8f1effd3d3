/*
 * whatif_sample.c
 *    Rows of a table, chosen by chance: from so many blocks, as many rows.  What an index
 *    that does not exist would have in it is computed of them.
 *
 * The sample is read once for all indexes.  Who may not read all of the table, or not
 * all of its rows, has none.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/sampling.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "index/whatif_sample.h"

/* What ANALYZE reads by default, and how much of it is kept. */
#define MOST_ROWS 30000
#define MOST_BLOCKS 3000
#define MOST_BYTES (16.0 * 1024 * 1024)

/* Of neighbours there are so many times fewer. */
#define NEIGHBOUR_SHARE 4

/* A sample while it is being read. */
typedef struct Reading
{
	Relation	rel;
	WhatIfSample *sample;
	HeapTuple  *rows;
	int			most_rows;
	double		nseen;
	double		nskip;			/* rows before the next that is taken */
	ReservoirStateData reservoir;
	int			most_neighbours;
	int			stride;			/* of so many blocks one has its rows kept as neighbours */
} Reading;

/* Of a table whose rows are not of heap, too, a copy knows its place. */
static HeapTuple
copy_row(TupleTableSlot *slot)
{
	HeapTuple	row = ExecCopySlotHeapTuple(slot);

	row->t_self = slot->tts_tid;
	return row;
}

static void
take_row(Reading *reading, TupleTableSlot *slot)
{
	WhatIfSample *sample = reading->sample;
	int			place = sample->nrows;

	reading->nseen++;
	if (place == reading->most_rows)
	{
		if (reading->nskip < 0)
			reading->nskip = reservoir_get_next_S(&reading->reservoir, reading->nseen - 1, reading->most_rows);
		if (reading->nskip-- > 0)
			return;
		place = (int) (reading->most_rows * sampler_random_fract(&reading->reservoir.randstate));
		heap_freetuple(reading->rows[place]);
	}
	else
		sample->nrows++;
	reading->rows[place] = copy_row(slot);
}

static void
take_neighbour(Reading *reading, TupleTableSlot *slot)
{
	WhatIfSample *sample = reading->sample;

	if (sample->nneighbours < reading->most_neighbours)
		sample->neighbours[sample->nneighbours++] = copy_row(slot);
}

static void
read_blocks(Reading *reading, BlockNumber nblocks, uint32 seed)
{
	TupleTableSlot *slot = table_slot_create(reading->rel, NULL);
	TableScanDesc scan = NULL;
	BlockSamplerData blocks;
	int			number = 0;

	(void) BlockSampler_Init(&blocks, nblocks, MOST_BLOCKS, seed);
	while (BlockSampler_HasMore(&blocks))
	{
		BlockNumber block = BlockSampler_Next(&blocks);
		ItemPointerData first;
		ItemPointerData last;

		CHECK_FOR_INTERRUPTS();
		ItemPointerSet(&first, block, 0);
		ItemPointerSet(&last, block, PG_UINT16_MAX);
		if (scan == NULL)
			scan = table_beginscan_tidrange(reading->rel, GetActiveSnapshot(), &first, &last);
		else
			table_rescan_tidrange(scan, &first, &last);
		while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
		{
			take_row(reading, slot);
			if (number % reading->stride == 0)
				take_neighbour(reading, slot);
		}
		number++;
	}
	if (scan != NULL)
		table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * True when the caller may have all that is in a table.
 */
static bool
may_read(Oid relation)
{
	return pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relation, GetUserId(), true) != RLS_ENABLED;
}

static void
read_sample(WhatIfSample *sample, Relation rel)
{
	Reading		reading = {.rel = rel, .sample = sample, .nskip = -1};
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	uint32		seed = pg_prng_uint32(&pg_global_prng_state);
	BlockNumber pages;
	double		rows;
	double		all_visible;

	sample->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	estimate_rel_size(rel, NULL, &pages, &rows, &all_visible);
	reading.most_rows = MOST_ROWS;
	if (rows > 0)
		reading.most_rows = Max(Min(MOST_ROWS, MOST_BYTES / ((double) pages * BLCKSZ / rows)), 100);
	reservoir_init_selection_state(&reading.reservoir, reading.most_rows);
	reading.rows = palloc(reading.most_rows * sizeof(HeapTuple));
	reading.most_neighbours = reading.most_rows / NEIGHBOUR_SHARE;
	reading.stride = Max(ceil(Min(nblocks, MOST_BLOCKS) * rows / Max(pages, 1) / reading.most_neighbours), 1);
	sample->neighbours = palloc(reading.most_neighbours * sizeof(HeapTuple));
	read_blocks(&reading, nblocks, seed);
	sample->table_rows = nblocks <= MOST_BLOCKS ? reading.nseen : reading.nseen * nblocks / MOST_BLOCKS;
	sample->rows = reading.rows;
}

/*
 * Returns the sample of a table, which is locked, read when it is first asked for; NULL
 * where the caller may not read it or it cannot be read by blocks.
 */
WhatIfSample *
architect_whatif_sample(WhatIfWorld *world, Oid relation)
{
	bool		found;
	WhatIfSample *sample = hash_search(world->samples, &relation, HASH_FIND, NULL);
	MemoryContext before;
	Relation	rel;

	if (sample != NULL)
		return sample->rows == NULL ? NULL : sample;
	sample = hash_search(world->samples, &relation, HASH_ENTER, &found);
	sample->context = AllocSetContextCreate(world->context, "what-if sample", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(sample->context);
	sample->rows = NULL;
	sample->nrows = 0;
	sample->neighbours = NULL;
	sample->nneighbours = 0;
	sample->combinations = NIL;
	rel = table_open(relation, AccessShareLock);
	if (may_read(relation) && rel->rd_tableam != NULL && rel->rd_tableam->scan_set_tidrange != NULL)
		read_sample(sample, rel);
	table_close(rel, NoLock);
	(void) MemoryContextSwitchTo(before);
	return sample->rows == NULL ? NULL : sample;
}

/*
 * Frees the samples, which are read again when they are asked for.
 */
void
architect_whatif_forget_samples(WhatIfWorld *world)
{
	HASH_SEQ_STATUS status;
	WhatIfSample *sample;

	hash_seq_init(&status, world->samples);
	while ((sample = hash_seq_search(&status)) != NULL)
	{
		MemoryContextDelete(sample->context);
		(void) hash_search(world->samples, &sample->table, HASH_REMOVE, NULL);
	}
}
