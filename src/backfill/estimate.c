/*
 * estimate.c
 *    What a backfill will take, from a sample that is rolled back.
 *
 * The sample cannot commit, so it never sees the room that one stripe makes for the
 * next.  What that saves is worked out page by page.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "backfill/estimate.h"
#include "compat.h"
#include "core/core.h"

#define STRIPES_RANDOM 64		/* batches of a key that is in no order come as often to a page */
#define ORDERED 0.9				/* correlation of a key that is in the order of the table */
#define LEAVES 64				/* pages of an index that are looked at */

/*
 * In a unique index the old entry of a row is on the page of the new one, and is removed
 * in most cases before the page is split.
 */
#define SPLIT_ALL_THE_SAME 0.25

/* Bytes of WAL, beside the tuple itself. */
#define WAL_HOT 80				/* of an update that stays on its page */
#define WAL_INDEX 80			/* of an index entry */
#define WAL_PRUNE 12			/* of a row whose old version is pruned */

PG_FUNCTION_INFO_V1(architect_backfill_estimate);

/* What is expected. */
typedef struct Expected
{
	double		rows;
	double		blocks;
	double		ms;
	double		wal;
	double		heap;			/* bytes of growth */
	double		indexes;		/* likewise */
} Expected;

/* What is known of a relation before the sample is read. */
typedef struct Subject
{
	const BackfillAssignment *what;
	bool		guarded;
	bool		can_be_hot;
	int			stripes;
	int			nindexes;		/* that get an entry for a row that leaves its page */
} Subject;

/*
 * Returns how many rows of a page leave it.  New versions go where there is room; the
 * old versions of a stripe make room for the next one.
 */
static double
count_leaving(const BackfillPage *page, double size, int stripes)
{
	double		rows = page->matching / stripes;
	double		old_size = page->rows > 0 ? page->bytes / page->rows : 0;
	double		room = page->free;
	double		leaving = 0;

	for (int i = 0; i < stripes; i++)
	{
		double		staying = Min(rows, floor(room / (size + sizeof(ItemIdData))));

		leaving += rows - staying;
		room += rows * old_size - staying * (size + sizeof(ItemIdData));
	}
	return leaving;
}

/*
 * Returns by how many times its size a B-tree grows when it gets so many entries for
 * each one that it has.  A page that has no room for them is split.
 */
static double
btree_growth(Relation index, BlockNumber blocks, double entries)
{
	BlockNumber step = Max(blocks / LEAVES, 1);
	double		pages = 0;
	double		more = 0;

	for (BlockNumber block = BTREE_METAPAGE + 1; block < blocks; block += step)
	{
		Buffer		buffer = ReadBuffer(index, block);
		Page		page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (!PageIsNew(page) && P_ISLEAF(BTPageGetOpaque(page)) && !P_IGNORE(BTPageGetOpaque(page)))
		{
			double		room = PageGetPageSize(page) - SizeOfPageHeaderData - MAXALIGN(sizeof(BTPageOpaqueData));
			double		used = room - PageGetExactFreeSpace(page);

			pages++;
			more += Max(ceil(used * (1 + entries) / room), 1) - 1;
		}
		UnlockReleaseBuffer(buffer);
	}
	return pages > 0 ? more / pages : 0;
}

/*
 * Adds what the indexes of the relation grow by, and the images of their pages, when
 * so many of the rows get new entries.
 */
static void
add_indexes(Relation rel, double entries, double rows, int stripes, double image, Expected *expected)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		BlockNumber blocks = RelationGetNumberOfBlocks(index);
		double		share = rows > 0 ? entries / rows : 0;
		double		growth = share;

		if (index->rd_rel->relam == BRIN_AM_OID)
			growth = 0;
		else if (index->rd_rel->relam == BTREE_AM_OID)
			growth = btree_growth(index, blocks, share) *
				(index->rd_index->indisunique && stripes > 1 ? SPLIT_ALL_THE_SAME : 1);
		expected->indexes += growth * blocks * BLCKSZ;
		if (blocks > 0 && index->rd_rel->relam != BRIN_AM_OID)
			expected->wal += image * blocks * (1 - exp(-entries / blocks));
		index_close(index, NoLock);
	}
}

/*
 * Adds what the rows take in time, other than waiting for what others do.
 */
static void
add_time(const BackfillSample *sample, const Subject *subject, double staying, double leaving, Expected *expected)
{
	double		scan = sample->scan_time / sample->changed_pages;
	double		reading = Max(sample->cold_time / sample->npages - scan, 0);
	double		cold = sample->changed - sample->hot;
	double		each = (sample->scan_time + sample->trigger_time) / sample->changed;

	/* To make an index entry takes about as long as to make the row. */
	double		write = sample->write_time / (sample->changed + cold * subject->nindexes);

	expected->ms += sample->blocks * reading + (staying + leaving) * (each + write) +
		leaving * subject->nindexes * write;
}

/*
 * Adds what the rows take in the log.
 */
static void
add_wal(Relation rel, const BackfillSample *sample, const Subject *subject, double staying, double leaving,
		double image, Expected *expected)
{
	double		size = sample->bytes / sample->changed;
	double		hot_share = sample->hot / sample->changed;
	double		old_size = 0;
	double		each = sample->wal / sample->changed;
	double		hot;
	double		cold;
	double		touched = 0;

	if (!RelationNeedsWAL(rel))
		return;
	for (int64 i = 0; i < sample->npages; i++)
	{
		old_size += sample->pages[i].bytes;
		if (sample->pages[i].matching > 0)
			touched++;
	}
	old_size = sample->rows > 0 ? old_size / sample->rows : size;

	/* Of a row that stays only the difference is written, unless it is to be decoded. */
	cold = size + WAL_HOT + subject->nindexes * WAL_INDEX;
	hot = WAL_HOT + Max(size - old_size, 0);
	if (hot_share < 0.9)
		cold = Max((each - hot_share * hot) / (1 - hot_share), hot);
	else
		hot = each;
	if (RelationIsLogicallyLogged(rel))
		hot = Max(hot, cold - subject->nindexes * WAL_INDEX);

	expected->wal += staying * hot + leaving * cold + (staying + leaving) * WAL_PRUNE +
		image * touched / sample->npages * sample->blocks;
}

/*
 * Works out what the sample means for the whole relation.
 */
static void
extrapolate(Relation rel, const BackfillSample *sample, const Subject *subject, Expected *expected)
{
	double		scale = (double) sample->blocks / sample->npages;
	double		size;
	double		image = 0;
	double		leaving = 0;
	double		spare = 0;

	expected->rows += sample->matching * scale;
	if (sample->changed == 0)
	{
		expected->ms += sample->cold_time * scale;
		return;
	}

	size = sample->bytes / sample->changed + sizeof(ItemIdData);
	for (int64 i = 0; i < sample->npages; i++)
	{
		if (sample->pages[i].matching > 0)
			leaving += count_leaving(&sample->pages[i], size - sizeof(ItemIdData), subject->stripes) * scale;
		else if (sample->pages[i].free >= size)
			spare += sample->pages[i].free * scale;
	}
	expected->heap += Max(leaving * size - spare, 0) +
		sample->toast_blocks / sample->changed * sample->matching * scale * BLCKSZ;

	if (RelationNeedsWAL(rel) && sample->images > 0)
		image = sample->image_wal / sample->images;
	else if (RelationNeedsWAL(rel) && fullPageWrites)
		image = BLCKSZ;
	add_time(sample, subject, sample->matching * scale - leaving, leaving, expected);
	add_wal(rel, sample, subject, sample->matching * scale - leaving, leaving, image, expected);
	add_indexes(rel, subject->can_be_hot ? leaving : sample->matching * scale, sample->rows * scale, subject->stripes,
				image, expected);
}

/*
 * True when a row can be changed without touching an index.
 */
static bool
leaves_indexes_alone(Relation rel, const BackfillAssignment *what)
{
	Bitmapset  *blocking = architect_hot_blocking_columns(rel);
	ListCell   *cell;

	foreach(cell, what->columns)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(cell));

		if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, blocking))
			return false;
	}
	return true;
}

/*
 * Returns how often a walk by this index comes to the same page.
 */
static int
count_visits(Relation rel, const char *key)
{
	Oid			index = get_relname_relid(key, RelationGetNamespace(rel));
	HeapTuple	tuple = OidIsValid(index) ? SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index)) : NULL;
	HeapTuple	statistics;
	AttStatsSlot slot;
	double		correlation = 0;
	AttrNumber	column;

	if (!HeapTupleIsValid(tuple))
		return STRIPES_RANDOM;
	column = ((Form_pg_index) GETSTRUCT(tuple))->indkey.values[0];
	ReleaseSysCache(tuple);

	statistics = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(RelationGetRelid(rel)), Int16GetDatum(column),
								 BoolGetDatum(false));
	if (!HeapTupleIsValid(statistics))
		return STRIPES_RANDOM;
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_CORRELATION, InvalidOid, ATTSTATSSLOT_NUMBERS))
	{
		correlation = slot.numbers[0];
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(statistics);
	return fabs(correlation) > ORDERED ? 1 : STRIPES_RANDOM;
}

/*
 * Adds what is expected of one relation, of whose blocks this is the share.
 */
static void
add_relation(Oid relid, const BackfillAssignment *what, const char *key, double share, Expected *expected)
{
	Relation	rel = try_table_open(relid, RowExclusiveLock);
	Subject		subject = {.what = what};
	BackfillSample sample = {0};

	if (rel == NULL)
		return;
	architect_backfill_check_leaf(rel, GetUserId());
	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is not stored as a heap", RelationGetRelationName(rel)),
				 errdetail("The estimate reads its pages.")));

	subject.guarded = what->guard != NULL && (what->condition == NULL || !what->closes);
	subject.can_be_hot = leaves_indexes_alone(rel, what);
	subject.nindexes = list_length(RelationGetIndexList(rel));
	subject.stripes = key != NULL ? count_visits(rel, key) : subject.can_be_hot ? BACKFILL_STRIPES :
		BACKFILL_STRIPES_NOT_HOT;

	architect_backfill_sample(rel, what, subject.guarded, share, &sample);
	if (sample.windows > 0 && sample.failed == sample.windows)
		ReThrowError(sample.error);
	if (sample.failed > 0)
		ereport(WARNING,
				(errmsg("some rows of table \"%s\" cannot be changed", RelationGetRelationName(rel)),
				 errdetail("In " INT64_FORMAT " of " INT64_FORMAT " places that were tried, the first time: %s",
						   sample.failed, sample.windows, sample.error->message)));

	expected->blocks += sample.blocks;
	if (sample.npages > 0)
		extrapolate(rel, &sample, &subject, expected);
	table_close(rel, NoLock);
}

static double
count_blocks(Oid relid)
{
	Relation	rel = try_table_open(relid, AccessShareLock);
	double		blocks;

	if (rel == NULL)
		return 0;
	blocks = RelationGetNumberOfBlocks(rel);
	table_close(rel, AccessShareLock);
	return blocks;
}

/*
 * Reads the argument, which must not be NULL.
 */
static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * architect.backfill_estimate(target regclass, set text, filter text, allow_subqueries boolean)
 */
Datum
architect_backfill_estimate(PG_FUNCTION_ARGS)
{
	Oid			target = architect_target_argument(fcinfo);
	char	   *assignment = text_argument(fcinfo, 1, "set");
	char	   *filter = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	bool		allows_subqueries = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	Relation	rel;
	BackfillAssignment what;
	char	   *key = NULL;
	List	   *leaves;
	ListCell   *cell;
	double		blocks = 0;
	Expected	expected = {0};
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PreventCommandIfReadOnly("architect.backfill_estimate()");

	rel = table_open(target, AccessShareLock);
	architect_backfill_check_target(rel, GetUserId());
	what = architect_backfill_analyze(rel, assignment, filter, allows_subqueries);
	if (!what.repeatable || what.condition == NULL)
		key = architect_backfill_choose_key(rel, InvalidOid, what.columns);
	leaves = architect_backfill_leaves(target);
	foreach(cell, leaves)
		blocks += count_blocks(lfirst_oid(cell));
	foreach(cell, leaves)
		add_relation(lfirst_oid(cell), &what, key, count_blocks(lfirst_oid(cell)) / Max(blocks, 1), &expected);
	table_close(rel, NoLock);

	values[0] = Int64GetDatum((int64) rint(expected.rows));
	values[1] = Int64GetDatum((int64) expected.blocks);
	values[2] = Float8GetDatum(rint(expected.ms) / 1000);
	values[3] = Int64GetDatum((int64) expected.wal);
	values[4] = Int64GetDatum((int64) expected.heap);
	values[5] = Int64GetDatum((int64) expected.indexes);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
