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

static int
compare_hashes(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

/*
 * Counts the values in a sample, and estimates those in the table as ANALYZE does
 * (Haas and Stokes 1998, estimator Duj1).
 */
static double
count_combinations(const WhatIfSample *sample, const Bitmapset *columns)
{
	uint64	   *hashes = palloc(sample->nrows * sizeof(uint64));
	double		n = sample->nrows;
	double		all = Max(sample->table_rows, n);
	double		distinct = 0;
	double		single = 0;
	double		count;

	for (int i = 0; i < sample->nrows; i++)
		hashes[i] = hash_row(sample, sample->rows[i], columns);
	qsort(hashes, sample->nrows, sizeof(uint64), compare_hashes);
	for (int i = 0, next; i < sample->nrows; i = next)
	{
		for (next = i + 1; next < sample->nrows && hashes[next] == hashes[i];)
			next++;
		distinct++;
		single += next == i + 1;
	}
	pfree(hashes);
	count = n * distinct / (n - single + single * n / all);
	return Min(Max(count, distinct), all);
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
