/*
 * size_hash.c
 *    How many pages a hash index, and a BRIN one, take when they have just been built.
 */
#include "postgres.h"

#include <math.h>

#include "access/brin_page.h"
#include "access/brin_tuple.h"
#include "access/hash.h"

#include "index/size.h"

/* A hash code with its header, as it is stored, and how many a page has room for. */
#define CODE_SIZE (MAXALIGN(sizeof(IndexTupleData)) + MAXALIGN(sizeof(uint32)) + sizeof(ItemIdData))
#define PAGE_CODES ((BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(HashPageOpaqueData))) / CODE_SIZE)

/* Overflow pages that one page of the bitmap can tell of. */
#define BITMAP_PAGES 32768.0

/*
 * Returns how many buckets the server makes (_hash_init_metabuffer): a power of two,
 * or from 1024 on a quarter of the way to the next one.
 */
static double
count_buckets(const IndexShape *shape)
{
	double		codes = Max(BLCKSZ * shape->fillfactor / 100 / (int) CODE_SIZE, 10);
	double		wanted = floor(shape->table_rows / codes);
	double		buckets = 2;

	while (buckets < wanted)
		buckets *= 2;
	if (buckets > 512)
		buckets = buckets / 2 + buckets / 8 * ceil((wanted - buckets / 2) / (buckets / 8));
	return buckets;
}

/*
 * Returns how many pages the chain of a bucket has on average, where values, each of
 * which occurs repeats times, come to it by chance.
 */
static double
chain_length(double values, double repeats)
{
	double		probability = exp(-values);
	double		pages = 0;
	int			last = (int) (values + 10 * sqrt(values) + 10);

	for (int i = 0; i <= last; i++)
	{
		pages += probability * Max(ceil(i * repeats / PAGE_CODES), 1);
		probability *= values / (i + 1);
	}
	return pages;
}

double
architect_index_hash_pages(const IndexShape *shape)
{
	const IndexSizeColumn *column = &shape->columns[0];
	double		buckets = count_buckets(shape);
	double		whole = exp2(floor(log2(buckets)));
	double		split = buckets - whole;
	double		overflow = 0;
	double		entries = 0;
	double		distinct = 0;

	/* Frequent values fill pages of their own; the others are thrown together. */
	for (int i = 0; i < column->nclasses; i++)
	{
		double		rows = shape->entries * column->classes[i].share;
		double		repeats = rows / column->classes[i].distinct;

		if (repeats > PAGE_CODES)
			overflow += column->classes[i].distinct * floor(repeats / PAGE_CODES);
		else
		{
			entries += rows;
			distinct += Min(column->classes[i].distinct, rows);
		}
	}
	if (entries >= 1)
	{
		/* Buckets that have been split hold half of what the others do. */
		overflow += (whole - split) * (chain_length(distinct / whole, entries / distinct) - 1);
		overflow += 2 * split * (chain_length(distinct / whole / 2, entries / distinct) - 1);
	}
	return 1 + buckets + ceil(overflow) + ceil(Max(overflow, 1) / BITMAP_PAGES);
}

double
architect_index_brin_pages(const IndexShape *shape)
{
	double		ranges = ceil(Max(shape->table_pages, 1) / (double) shape->pages_per_range);
	bool		has_nulls = false;
	IndexLayout layout = INDEX_EMPTY_LAYOUT;
	double		header = SizeOfBrinTuple;
	double		room = BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(BrinSpecialSpace));

	for (int i = 0; i < shape->ncolumns; i++)
	{
		has_nulls |= shape->columns[i].null_share > 0;
		architect_index_lay_out(&layout, &shape->columns[i]);
	}
	if (has_nulls)
		header += (shape->nkeys * 2 + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	header = MAXALIGN((int) header);
	return 1 + ceil(ranges / REVMAP_PAGE_MAXITEMS) +
		ceil(ranges / floor(room / (header + architect_index_laid_out(layout) + sizeof(ItemIdData))));
}
