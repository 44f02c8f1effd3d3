/*
 * size_sample.c
 *    What the size of an index needs beyond the facts: the most common values, how
 *    wide the values are, and combinations of columns.
 *
 * The caller has seen to it that the reader may see the statistics of the columns.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_statistic_ext_data.h"
#include "catalog/pg_type.h"
#include "statistics/statistics.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/size.h"

/* Values are in one class while the rarest is at least this share of the first. */
#define CLASS_SPREAD 0.4

/* How wide the values are that ANALYZE kept, as an index would store them. */
typedef struct Widths
{
	bool		is_packed;		/* short values have a short header */
	double		weight;
	double		sum;
	double		residues[MAXIMUM_ALIGNOF];
} Widths;

/*
 * Adds values that stand for this share of the entries each, or as numbers has it.
 */
static void
add_widths(Widths *widths, const AttStatsSlot *slot, double share)
{
	int16		length = get_typlen(slot->valuetype);

	if (length != -1 && slot->valuetype != NAMEOID)
		return;
	for (int i = 0; i < slot->nvalues; i++)
	{
		double		weight = slot->nnumbers > 0 ? slot->numbers[i] : share;
		Size		width;

		if (length != -1)
			width = strlen(NameStr(*DatumGetName(slot->values[i]))) + 1;
		else
		{
			width = VARSIZE_ANY_EXHDR(DatumGetPointer(slot->values[i]));
			width += widths->is_packed && width + VARHDRSZ_SHORT <= VARATT_SHORT_MAX ? VARHDRSZ_SHORT : VARHDRSZ;
		}
		widths->residues[width % MAXIMUM_ALIGNOF] += weight;
		widths->weight += weight;
		widths->sum += width * weight;
	}
}

/*
 * Makes classes of the most common values.  The last class that there is room for takes
 * all that are left; one more is for the values that are not common.
 */
static void
add_classes(IndexSizeColumn *column, const AttStatsSlot *slot)
{
	IndexSizeClass *class = NULL;
	double		first = 0;

	for (int i = 0; i < slot->nnumbers; i++)
	{
		if (class == NULL || (slot->numbers[i] < first * CLASS_SPREAD && column->nclasses < INDEX_SIZE_CLASSES - 1))
		{
			class = &column->classes[column->nclasses++];
			first = slot->numbers[i];
		}
		class->share += slot->numbers[i];
		class->distinct++;
	}
}

/*
 * Reads the most common values of a column.  Returns true when it has set how wide the
 * values are, which are text or the like.
 */
bool
architect_index_read_sample(Oid relation, int16 attnum, bool inherited, bool is_packed, IndexSizeColumn *column)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relation), Int16GetDatum(attnum),
										BoolGetDatum(inherited));
	Widths		widths = {.is_packed = is_packed};
	double		rest = 1 - column->null_share;
	AttStatsSlot slot;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_MCV, InvalidOid, ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		add_classes(column, &slot);
		add_widths(&widths, &slot, 0);
		rest -= widths.weight;
		free_attstatsslot(&slot);
	}
	if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_HISTOGRAM, InvalidOid, ATTSTATSSLOT_VALUES))
	{
		add_widths(&widths, &slot, Max(rest, 0.001) / slot.nvalues);
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(tuple);

	if (widths.weight <= 0)
		return false;
	column->width = widths.sum / widths.weight;
	for (int i = 0; i < MAXIMUM_ALIGNOF; i++)
		column->residues[i] = widths.residues[i] / widths.weight;
	return true;
}

/*
 * Returns how many combinations of these columns a statistics object has counted, or
 * 0 where it has not.
 */
static double
find_distinct(Oid statistics, bool inherited, const IndexDefinition *index)
{
	HeapTuple	tuple = SearchSysCache2(STATEXTDATASTXOID, ObjectIdGetDatum(statistics), BoolGetDatum(inherited));
	bool		isnull = true;
	MVNDistinct *counted;

	if (HeapTupleIsValid(tuple))
	{
		(void) SysCacheGetAttr(STATEXTDATASTXOID, tuple, Anum_pg_statistic_ext_data_stxdndistinct, &isnull);
		ReleaseSysCache(tuple);
	}
	if (isnull)
		return 0;
	counted = statext_ndistinct_load(statistics, inherited);
	for (uint32 i = 0; i < counted->nitems; i++)
	{
		MVNDistinctItem *item = &counted->items[i];
		int			nfound = 0;

		for (int j = 0; j < item->nattributes; j++)
		{
			for (int k = 0; k < index->nkeys; k++)
				nfound += item->attributes[j] == index->attnums[k];
		}
		if (nfound == index->nkeys && item->nattributes == index->nkeys)
			return item->ndistinct;
	}
	return 0;
}

/*
 * Returns how many different keys an index on several columns has, if CREATE
 * STATISTICS had them counted; 0 if not.
 */
double
architect_index_read_distinct(const IndexDefinition *index)
{
	Relation	rel = table_open(StatisticExtRelationId, AccessShareLock);
	double		distinct = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_statistic_ext_stxrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(index->table->oid));
	scan = systable_beginscan(rel, StatisticExtRelidIndexId, true, NULL, 1, &key);
	while (distinct == 0 && HeapTupleIsValid(tuple = systable_getnext(scan)))
		distinct = find_distinct(((Form_pg_statistic_ext) GETSTRUCT(tuple))->oid,
								 index->table->kind == RELKIND_PARTITIONED_TABLE, index);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return distinct;
}
