/*
 * advise_write.c
 *    What an index costs those who write to its table, and how long it takes to build.
 *
 * WAL is without the images of whole pages, which the first change after a checkpoint
 * adds.  Its records are as long as those that the server writes (nbtxlog.h, hash_xlog.h,
 * ginxlog.h); what splits of pages add, and all times, were measured: PostgreSQL 15, 0.3
 * to 1 million rows from cache, where a sequential scan takes 1.4 µs for a unit of the
 * planner.  There a row of an integer btree takes 0.8 µs in order and 2.4 µs elsewhere,
 * of text 4.3 µs, hash 2.0 µs, BRIN 0.3 µs, and each key of GIN 0.8 to 1 µs.
 */
#include "postgres.h"

#include <math.h>

#include "access/brin.h"
#include "access/itup.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/spccache.h"

#include "compat.h"
#include "index/advise.h"
#include "index/definition.h"

/* Updates that may be heap-only, and are, where too few were counted to tell. */
#define FEW_UPDATES 1000
#define HOT_SHARE 0.9

/* Planner's units of a statement that opens the index, whatever it adds (0.6 µs). */
#define COST_OPEN 0.45

/* Planner's units of an entry that goes where the last one went; that goes elsewhere, besides. */
#define COST_ENTRY 0.6
#define COST_ELSEWHERE 0.7
#define COST_KEY 0.7			/* of GIN */
#define COST_SUMMARIZED 0.2		/* a row of BRIN */
#define COST_OTHER 2.5			/* GiST and others, to btree */

/* What is compared to find the place, of values that are not numbers, to cpu_operator_cost. */
#define SLOW_COMPARISON 25
#define PAGE_OPERATORS 50		/* per page on the way, as btcostestimate has it */

/* Bytes of WAL. */
#define WAL_ENTRY 48			/* btree: a record with one page and an offset, without the entry */
#define WAL_HASH 72				/* with the entry */
#define WAL_PENDING 144			/* GIN: a row in the pending list, without its keys */
#define WAL_KEY 64				/* a key from there in the tree, without the key */
#define WAL_POSTING 12			/* the address of a row, with those of others */
#define WAL_SUMMARY 180			/* BRIN: a range of pages */
#define WAL_CLEANUP 3			/* an entry that VACUUM removes, with others */

/* Shares of what an index grows that its splits write. */
#define SPLIT_IN_ORDER 0.1
#define SPLIT_ELSEWHERE 0.5
#define SPLIT_HASH 0.25
#define SPLIT_KEYS 1.46
#define SPLIT_OTHER 1.0

/* VACUUM reads an index when such a share of the rows is dead (autovacuum_vacuum_scale_factor). */
#define DEAD_SHARE 0.2

/* Where GIN was not sampled. */
static const IndexKeys unknown_keys = {.count = 8, .bytes = 8 * 24, .written = 1, .written_bytes = 40};

/* Microseconds of a build. */
#define BUILD_ROW 0.15			/* that is read, and each scan of CONCURRENTLY */
#define BUILD_ENTRY 0.05
#define BUILD_COMPARISON 0.016	/* of numbers, in a sort */
#define BUILD_SLOW_COMPARISON 0.1
#define BUILD_HASH 0.5
#define BUILD_KEY_BYTE 0.06		/* of a GIN index */
#define BUILD_OTHER 8
#define BUILD_BYTE 0.004		/* that is written, and its WAL */

/*
 * Returns which share of the table's rows have an entry.
 */
static double
entry_share(const IndexDefinition *index)
{
	if (index->predicate == NULL || index->rows < 0 || index->table->rows <= 0)
		return 1;
	return Min(index->rows / index->table->rows, 1);
}

static double
count_entries(const IndexDefinition *index)
{
	return Max(index->table->rows * entry_share(index), 1);
}

/*
 * Returns how many bytes an entry takes, on average.
 */
static double
entry_bytes(const IndexDefinition *index)
{
	double		size = sizeof(IndexTupleData);
	double		nulls = 0;

	for (int i = 0; i < index->ncolumns; i++)
	{
		const IndexColumn *stored = &index->columns[i];
		const IndexColumn *column = index->attnums[i] > 0 ? &index->table->columns[index->attnums[i] - 1] : stored;

		nulls = Max(nulls, column->null_share);
		if (stored->length > 0)
			size = att_align_nominal((int) size, stored->align) + stored->length;
		else
			size += column->has_statistics ? column->width : get_typavgwidth(stored->type, -1);
	}
	return MAXALIGN((int) size) + nulls * MAXIMUM_ALIGNOF;
}

static bool
compares_slowly(const IndexDefinition *index)
{
	return index->nkeys > 0 && index->columns[0].length < 0;
}

/*
 * True when new rows have the greatest keys, as their numbers and the time are.
 */
static bool
grows_at_end(const IndexDefinition *index)
{
	bool		is_descending = (index->options[0] & INDOPTION_DESC) != 0;
	double		correlation;

	if (index->access_method != BTREE_AM_OID || index->attnums[0] == 0)
		return false;
	correlation = index->table->columns[index->attnums[0] - 1].correlation;
	return is_descending ? correlation < -0.95 : correlation > 0.95;
}

/*
 * Returns what it costs to have a page of the index in the cache, and to write it later.
 */
static double
page_cost(const IndexDefinition *index, double bytes)
{
	double		missing = 1 - effective_cache_size / Max(bytes / BLCKSZ, 1);
	double		random;
	double		sequential;

	get_tablespace_page_costs(index->tablespace, &random, &sequential);
	return Max(missing, 0) * 2 * random;
}

/*
 * Returns what the index grows with an entry.
 */
static double
growth(const IndexDefinition *index, double bytes)
{
	return Min(bytes / count_entries(index), (entry_bytes(index) + sizeof(ItemIdData)) / 0.9);
}

static void
price_btree(const IndexDefinition *index, double bytes, bool in_order, AdviseWrite *price)
{
	double		comparisons = log2(Max(count_entries(index), 2));
	double		pages = 1 + ceil(log(Max(bytes / BLCKSZ, 2)) / log(200));

	price->entries = 1;
	price->cost = COST_ENTRY;
	price->wal_bytes = WAL_ENTRY + entry_bytes(index) + growth(index, bytes) *
		(in_order ? SPLIT_IN_ORDER : SPLIT_ELSEWHERE);
	if (in_order)
		return;
	price->cost += COST_ELSEWHERE + page_cost(index, bytes) +
		cpu_operator_cost * (comparisons * (compares_slowly(index) ? SLOW_COMPARISON : 1) + pages * PAGE_OPERATORS);
}

static void
price_hash(const IndexDefinition *index, double bytes, AdviseWrite *price)
{
	price->entries = 1;
	price->cost = COST_ENTRY + COST_ELSEWHERE + page_cost(index, bytes);
	price->wal_bytes = WAL_HASH + growth(index, bytes) * SPLIT_HASH;
}

static void
price_gin(const IndexDefinition *index, double bytes, AdviseWrite *price)
{
	const IndexKeys *keys = index->keys.count > 0 ? &index->keys : &unknown_keys;

	price->entries = keys->count;
	price->cost = COST_KEY * keys->count + page_cost(index, bytes) * keys->written;
	price->wal_bytes = WAL_PENDING + keys->bytes + WAL_POSTING * keys->count +
		WAL_KEY * keys->written + (1 + SPLIT_KEYS) * keys->written_bytes;
}

static void
price_brin(const IndexDefinition *index, AdviseWrite *price)
{
	double		pages = index->pages_per_range > 0 ? index->pages_per_range : BRIN_DEFAULT_PAGES_PER_RANGE;

	price->entries = index->table->rows > 0 ? Min(index->table->pages / (pages * index->table->rows), 1) : 1 / pages;
	price->cost = COST_SUMMARIZED;
	price->wal_bytes = WAL_SUMMARY * price->entries;
}

/*
 * Says what one row costs that the index gets.
 */
static void
price_row(const IndexDefinition *index, double bytes, bool in_order, AdviseWrite *price)
{
	memset(price, 0, sizeof(AdviseWrite));
	switch (index->access_method)
	{
		case BTREE_AM_OID:
			price_btree(index, bytes, in_order, price);
			break;
		case HASH_AM_OID:
			price_hash(index, bytes, price);
			break;
		case GIN_AM_OID:
			price_gin(index, bytes, price);
			break;
		case BRIN_AM_OID:
			price_brin(index, price);
			break;
		default:
			price_btree(index, bytes, false, price);
			price->cost *= COST_OTHER;
			price->wal_bytes += growth(index, bytes) * (SPLIT_OTHER - SPLIT_ELSEWHERE);
	}
	if (index->table->persistence != RELPERSISTENCE_PERMANENT)
		price->wal_bytes = 0;
	price->cost += seq_page_cost * price->wal_bytes / BLCKSZ;
}

/*
 * Adds so many rows that an index gets.
 */
static void
add_rows(const IndexDefinition *index, double bytes, bool in_order, double rows, AdviseWrite *write)
{
	AdviseWrite price;

	price_row(index, bytes, in_order, &price);
	write->entries += rows * price.entries;
	write->cost += rows * price.cost;
	write->wal_bytes += rows * price.wal_bytes;
}

/*
 * Adds what VACUUM has to do for so many entries of rows that are dead.
 */
static void
add_cleanup(const IndexDefinition *index, double bytes, double rows, AdviseWrite *write)
{
	double		pages = bytes / BLCKSZ / (DEAD_SHARE * count_entries(index));

	if (index->access_method == BRIN_AM_OID)
		return;
	write->cost += rows * (cpu_tuple_cost + Min(pages, 1) * seq_page_cost);
	if (index->table->persistence == RELPERSISTENCE_PERMANENT)
		write->wal_bytes += rows * WAL_CLEANUP;
}

/*
 * True when a change of these columns leaves no update heap-only.
 */
static bool
blocks(const IndexDefinition *index, const Bitmapset *assigned)
{
	return !(ARCHITECT_SUMMARIES_ALLOW_HOT && index->access_method == BRIN_AM_OID) &&
		bms_overlap(architect_index_columns(index), assigned);
}

/*
 * Returns the other indexes that are written to whenever a row of the table is new.
 */
static List *
other_indexes(const IndexDefinition *index)
{
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, index->table->indexes)
	{
		IndexDefinition *other = lfirst(cell);

		if (other->oid != index->oid && other->is_live && other->is_ready)
			others = lappend(others, other);
	}
	return others;
}

/*
 * Returns the share of updates whose new row fits into the page of the old one, which is
 * then heap-only unless an index is in the way.  Before 16 that is what was heap-only.
 */
static double
hot_share(const IndexTable *table)
{
	if (table->counts.updates < FEW_UPDATES)
		return HOT_SHARE;
	if (ARCHITECT_COUNTS_NEWPAGE_UPDATES)
		return 1 - Min(table->counts.newpage_updates / table->counts.updates, 1);
	return Min(table->counts.hot_updates / table->counts.updates, 1);
}

/*
 * Adds what the other indexes get of rows that are heap-only without this one.
 */
static void
add_lost(const List *others, double rows, AdviseWrite *write)
{
	ListCell   *cell;

	write->lost_hot = rows;
	foreach(cell, others)
	{
		const IndexDefinition *other = lfirst(cell);
		double		bytes = (double) other->pages * BLCKSZ;
		AdviseWrite more = {0};

		add_rows(other, bytes, false, rows * entry_share(other), &more);
		add_cleanup(other, bytes, rows * entry_share(other), &more);
		write->cost += more.cost;
		write->wal_bytes += more.wal_bytes;
	}
}

static void
add_update(const IndexDefinition *index, double bytes, const Bitmapset *assigned, double rows, AdviseWrite *write)
{
	List	   *others = other_indexes(index);
	bool		is_set = bms_overlap(architect_index_columns(index), assigned);
	bool		is_blocked = false;
	double		fitting = rows * hot_share(index->table);
	ListCell   *cell;

	foreach(cell, others)
		is_blocked = is_blocked || blocks(lfirst(cell), assigned);
	if (!is_blocked && !is_set)
		rows -= fitting;
	if (!is_blocked && blocks(index, assigned))
		add_lost(others, fitting, write);
	rows *= entry_share(index);
	add_rows(index, bytes, false, rows, write);
	add_cleanup(index, bytes, rows, write);
}

/*
 * Returns which share of the rows of one table are those of the other: of itself and of
 * what it is a part of all, of a part its share, of others none.
 */
static double
shared_rows(const IndexTable *changed, const IndexTable *indexed)
{
	const IndexTable *table;

	for (table = changed; table != NULL; table = table->parent)
	{
		if (table == indexed)
			return 1;
	}
	for (table = indexed; table != NULL; table = table->parent)
	{
		if (table == changed)
			return changed->rows > 0 ? Min(Max(indexed->rows, 0) / changed->rows, 1) : 1;
	}
	return 0;
}

/*
 * Says what an index of so many bytes adds to a change.  Of a partial one, and of GIN,
 * architect_whatif_bytes() has noted how many entries it would have.
 */
void
architect_advise_write(const IndexDefinition *index, double bytes, const AdviseChange *change, AdviseWrite *write)
{
	double		rows = change->rows * shared_rows(change->table, index->table);

	memset(write, 0, sizeof(AdviseWrite));
	if (rows <= 0)
		return;
	if (change->command != CMD_DELETE)
		write->cost = COST_OPEN;
	switch (change->command)
	{
		case CMD_INSERT:
			add_rows(index, bytes, grows_at_end(index), rows * entry_share(index), write);
			break;
		case CMD_UPDATE:
			add_update(index, bytes, architect_advise_translate(change->table, index->table, change->assigned), rows,
					   write);
			break;
		default:
			add_cleanup(index, bytes, rows * entry_share(index), write);
	}
}

/*
 * Returns how long one process takes to build an index of so many bytes CONCURRENTLY, if
 * the table is in the cache and nobody else is busy.
 */
double
architect_advise_build_seconds(const IndexDefinition *index, double bytes)
{
	double		rows = Max(index->table->rows, 0);
	double		entries = count_entries(index);
	double		sort = log2(Max(entries, 2)) * (compares_slowly(index) ? BUILD_SLOW_COMPARISON : BUILD_COMPARISON);
	double		microseconds = 2 * rows * BUILD_ROW + bytes * BUILD_BYTE;

	switch (index->access_method)
	{
		case BTREE_AM_OID:
			microseconds += entries * (BUILD_ENTRY + sort);
			break;
		case HASH_AM_OID:
			microseconds += entries * (BUILD_HASH + sort);
			break;
		case GIN_AM_OID:
			microseconds += bytes * BUILD_KEY_BYTE;
			break;
		case BRIN_AM_OID:
			break;
		default:
			microseconds += entries * BUILD_OTHER;
	}
	return microseconds / 1000000;
}
