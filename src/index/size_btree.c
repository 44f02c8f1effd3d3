/*
 * size_btree.c
 *    How many pages a btree takes when it has just been built.
 *
 * The entries are looked at in parts: those with NULL in a column, with one of its
 * most common values, or with another value.  Within a part all keys are as wide and
 * repeat as often, so that filling a few pages as the server would (nbtsort.c) shows
 * how many entries a page takes.
 */
#include "postgres.h"

#include <math.h>

#include "access/itup.h"
#include "access/nbtree.h"

#include "index/size.h"

/* A page without its header, its special space, and the line pointer of the high key. */
#define PAGE_ROOM ((double) (BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(BTPageOpaqueData)) - \
							 sizeof(ItemIdData)))

/* Posting lists are no longer than this, with the key. */
#define POSTING_LIMIT ((double) MAXALIGN_DOWN(MAXALIGN_DOWN(BLCKSZ * 10 / 100) - sizeof(ItemIdData)))

/* Parts that are this small are not worth a look of their own. */
#define SMALL_SHARE 0.001
#define SMALL_PART 0.01

/* The entries that have the same kind of value in the columns looked at so far. */
typedef struct Part
{
	IndexLayout layout;
	bool		has_nulls;
	double		share;			/* of all entries */
	double		combinations;	/* of values, that could be */
	double		base_distinct;	/* values in the column that has the most, */
	double		base_share;		/* among this share of the entries */
} Part;

/* A page while it is being filled. */
typedef struct Leaf
{
	double		reserve;		/* fillfactor: what is to stay free */
	double		room;
	double		last_size;
	double		last_extra;		/* bytes that the high key would not take of the last item */
	int			nitems;
	int			nfilled;		/* pages before this one */
} Leaf;

/*
 * Returns the size of an entry: with its header, but without a line pointer.
 */
static double
entry_size(IndexLayout layout, bool has_nulls)
{
	return IndexInfoFindDataOffset(has_nulls ? INDEX_NULL_MASK : 0) + architect_index_laid_out(layout);
}

/*
 * Adds an item to the page, or to the next one: that begins with the item that was
 * the last, whose key stays behind as the high key.
 */
static void
add_item(Leaf *page, double size, double extra)
{
	if (page->room - sizeof(ItemIdData) < size + MAXALIGN(sizeof(ItemPointerData)) ||
		(page->nitems > 1 && page->room - sizeof(ItemIdData) + page->last_extra < page->reserve))
	{
		page->room = PAGE_ROOM - page->last_size - sizeof(ItemIdData);
		page->nitems = 1;
		page->nfilled++;
	}
	page->room -= size + sizeof(ItemIdData);
	page->nitems++;
	page->last_size = size;
	page->last_extra = extra;
}

/*
 * Returns how often the value with this number occurs, where it is mean on average: the
 * even ones as often as each other, the odd ones by chance (at least once).
 */
static int
choose_repeats(int number, double mean, double lambda)
{
	double		draw = fmod((number + 1) * 0.6180339887498949, 1);
	double		probability;
	double		sum = 0;
	int			repeats = 0;

	if (number % 2 == 0)
		return (int) (floor((number / 2 + 1) * mean) - floor(number / 2 * mean));
	if (mean > 50)
		return (int) (mean + sqrt(mean) * 0.55 * log(draw / (1 - draw)));
	probability = exp(-lambda) / (1 - exp(-lambda));
	while (sum <= draw && repeats < 1000)
	{
		repeats++;
		probability *= lambda / repeats;
		sum += probability;
	}
	return Max(repeats, 1);
}

/*
 * Returns how many entries a leaf page takes where a key occurs mean times.
 */
static double
count_entries(double key, double mean, int fillfactor)
{
	Leaf		page = {.reserve = BLCKSZ * (100 - fillfactor) / 100, .room = PAGE_ROOM};
	int			longest = (int) Max((POSTING_LIMIT - key) / sizeof(ItemPointerData), 1);
	bool		is_unique = mean < 1.001;
	int			enough = is_unique ? 1 : 32;
	double		lambda = mean;
	double		entries = 0;
	int			last = 0;

	/* The mean of those that occur at all is to be mean. */
	for (int i = 0; i < 50 && !is_unique; i++)
		lambda = mean * (1 - exp(-lambda));
	for (int number = 0;; number++)
	{
		int			left = is_unique ? 1 : choose_repeats(number, mean, lambda);

		while (left > 0)
		{
			int			taken = Min(left, longest);
			double		extra = taken < 2 ? 0 : MAXALIGN(taken * sizeof(ItemPointerData));

			add_item(&page, key + extra, extra);
			if (page.nfilled == enough)
				return Max(entries - last, 1) / enough;
			entries += taken;
			left -= taken;
			last = taken;
		}
	}
}

/*
 * Returns how many different keys the entries of a part have.
 */
static double
count_distinct(const IndexShape *shape, const Part *part)
{
	double		entries = shape->entries * part->share;
	double		base = part->base_distinct;
	double		others = part->combinations / base;
	double		repeats;

	if (shape->distinct > 0)
		return Max(shape->distinct * part->share, 1);

	/* Some of the values are not among these entries, which are fewer. */
	if (part->share < part->base_share)
		base *= 1 - pow(1 - part->share / part->base_share,
						Max(shape->entries * part->base_share / part->base_distinct, 1));
	base = Max(Min(base, entries), 1);

	/* For each value of the one column, those of the others that chance puts there. */
	repeats = entries / base;
	return others <= 1 ? base : base * others * -expm1(repeats * log1p(-1 / others));
}

/*
 * Returns the leaf pages of a part.
 */
static double
count_part(const IndexShape *shape, const Part *part)
{
	double		entries = shape->entries * part->share;
	double		mean = shape->deduplicates ? Max(entries / count_distinct(shape, part), 1) : 1;

	return entries / count_entries(entry_size(part->layout, part->has_nulls), mean, shape->fillfactor);
}

/*
 * Narrows a part to this share of it, which has so many values in the next column.
 */
static void
add_values(Part *part, double share, double distinct)
{
	part->share *= share;
	part->combinations *= distinct;
	if (distinct > part->base_distinct)
	{
		part->base_distinct = distinct;
		part->base_share = share;
	}
}

/*
 * Returns the leaf pages of the entries that are of the given kind in the columns
 * before this one.
 */
static double
count_leaves(const IndexShape *shape, int number, Part part)
{
	const IndexSizeColumn *column = &shape->columns[number];
	bool		is_small = part.share < SMALL_PART;
	double		rest = 1;
	double		pages = 0;
	Part		inner;

	if (shape->entries * part.share < 1)
		return 0;
	if (number == shape->ncolumns)
		return count_part(shape, &part);

	if (column->null_share > SMALL_SHARE && !is_small)
	{
		inner = part;
		inner.has_nulls = true;
		inner.share *= column->null_share;
		pages += count_leaves(shape, number + 1, inner);
		rest -= column->null_share;
	}
	architect_index_lay_out(&part.layout, column);
	if (is_small || !shape->deduplicates)
	{
		add_values(&part, rest, column->distinct);
		return pages + count_leaves(shape, number + 1, part);
	}
	for (int i = 0; i < column->nclasses; i++)
	{
		inner = part;
		add_values(&inner, column->classes[i].share, column->classes[i].distinct);
		pages += count_leaves(shape, number + 1, inner);
	}
	return pages;
}

/*
 * Returns how wide the keys of inner pages are: they have the columns that tell two
 * neighbours apart, and the row's address where no column does.
 */
static double
find_pivot_size(const IndexShape *shape)
{
	IndexLayout layout = INDEX_EMPTY_LAYOUT;
	double		distinct = 1;

	for (int i = 0; i < shape->nkeys; i++)
	{
		architect_index_lay_out(&layout, &shape->columns[i]);
		distinct *= shape->columns[i].distinct;
		if (distinct * 2 > shape->entries)
			return entry_size(layout, false);
	}
	return entry_size(layout, false) + (shape->deduplicates ? MAXALIGN(sizeof(ItemPointerData)) : 0);
}

double
architect_index_btree_pages(const IndexShape *shape)
{
	Part		all = {.layout = INDEX_EMPTY_LAYOUT, .share = 1, .combinations = 1, .base_distinct = 1,
			.base_share = 1};
	double		pages = 1;		/* the meta page */
	double		level;
	double		children;

	if (shape->entries < 1)
		return pages;
	children = Max(count_entries(find_pivot_size(shape), 1, BTREE_NONLEAF_FILLFACTOR), 2);
	level = ceil(count_leaves(shape, 0, all));
	pages += Max(level, 1);
	while (level > 1)
	{
		level = ceil(level / children);
		pages += level;
	}
	return pages;
}

/*
 * Returns how many levels of inner pages there are above leaf pages, of which there are
 * about this many; NULL stands for keys of which nothing is known.
 */
int
architect_index_btree_height(const IndexShape *shape, double pages)
{
	double		children = 200;
	int			height = 0;

	if (shape != NULL)
		children = Max(count_entries(find_pivot_size(shape), 1, BTREE_NONLEAF_FILLFACTOR), 2);
	for (pages -= 1; pages > 1; pages = ceil(pages / children))
		height++;
	return height;
}
