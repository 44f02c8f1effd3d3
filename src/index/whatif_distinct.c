/*
 * whatif_distinct.c
 *    How many combinations of values several columns have, by a sample: columns that
 *    depend on each other have fewer than their statistics let one think.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "index/whatif_sample.h"

/* Combinations of these columns. */
typedef struct WhatIfCombinations
{
	Bitmapset  *columns;		/* attnums */
	double		count;
} WhatIfCombinations;

static uint64
hash_row(const WhatIfSample *sample, HeapTuple row, const Bitmapset *columns)
{
	uint64		hash = 0;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		Form_pg_attribute column = TupleDescAttr(sample->desc, attnum - 1);
		bool		isnull;
		Datum		value = heap_getattr(row, attnum, sample->desc, &isnull);

		hash = hash_bytes_uint32_extended(isnull ? 0 : datum_image_hash(value, column->attbyval, column->attlen), hash);
	}
	return hash;
}

/* A combination of values in a block. */
typedef struct Place
{
	uint64		hash;
	BlockNumber block;
} Place;

/* What is counted of places. */
typedef struct PlaceCounts
{
	double		rows;
	double		places;			/* that differ */
	double		distinct;		/* combinations */
	double		single;			/* those in one block alone */
} PlaceCounts;

static int
compare_places(const void *a, const void *b)
{
	const Place *left = a;
	const Place *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return left->block < right->block ? -1 : left->block > right->block;
}

static PlaceCounts
count_places(const WhatIfSample *sample, HeapTuple *rows, int nrows, const Bitmapset *columns)
{
	PlaceCounts counts = {.rows = nrows};
	Place	   *places = palloc(Max(nrows, 1) * sizeof(Place));

	for (int i = 0; i < nrows; i++)
	{
		places[i].hash = hash_row(sample, rows[i], columns);
		places[i].block = ItemPointerGetBlockNumber(&rows[i]->t_self);
	}
	qsort(places, nrows, sizeof(Place), compare_places);
	for (int i = 0, next; i < nrows; i = next)
	{
		for (next = i; next < nrows && places[next].hash == places[i].hash; next++)
			counts.places += next == i || places[next].block != places[next - 1].block;
		counts.distinct++;
		counts.single += places[next - 1].block == places[i].block;
	}
	pfree(places);
	return counts;
}

/*
 * Counts the combinations in a sample, and estimates those in the table as ANALYZE does
 * (Haas and Stokes 1998, estimator Duj1), but of places instead of rows: rows that were
 * written together often have the same values, and are in the sample together, as it is
 * of blocks.  How many rows a place has is seen where all rows of a block are there.
 */
static double
count_combinations(const WhatIfSample *sample, const Bitmapset *columns)
{
	PlaceCounts counts = count_places(sample, sample->rows, sample->nrows, columns);
	PlaceCounts whole = count_places(sample, sample->neighbours, sample->nneighbours, columns);
	double		rows = Max(sample->table_rows, counts.rows);
	double		all = Max(whole.rows > 0 ? rows * whole.places / whole.rows : rows, counts.places);
	double		count;

	count = counts.places * counts.distinct / (counts.places - counts.single + counts.single * counts.places / all);
	return Min(Max(count, counts.distinct), rows);
}

/*
 * Returns how many combinations of the keys of an index, which are columns, the table
 * has; 0 where there is no sample of it.
 */
double
architect_whatif_combinations(WhatIfWorld *world, const IndexDefinition *index)
{
	WhatIfSample *sample = architect_whatif_sample(world, index->table->oid);
	WhatIfCombinations *found;
	Bitmapset  *columns = NULL;
	MemoryContext before;
	ListCell   *cell;

	if (sample == NULL || sample->nrows == 0)
		return 0;
	for (int i = 0; i < index->nkeys; i++)
		columns = bms_add_member(columns, index->attnums[i]);
	foreach(cell, sample->combinations)
	{
		found = lfirst(cell);
		if (bms_equal(found->columns, columns))
			return found->count;
	}
	before = MemoryContextSwitchTo(sample->context);
	found = palloc(sizeof(WhatIfCombinations));
	found->columns = bms_copy(columns);
	found->count = count_combinations(sample, columns);
	sample->combinations = lappend(sample->combinations, found);
	(void) MemoryContextSwitchTo(before);
	return found->count;
}
