/*
 * whatif_statistics.c
 *    Statistics of an expression of an index that does not exist: those that ANALYZE
 *    would make of a sample, by the same functions.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/as_owner.h"
#include "index/whatif_sample.h"

static Datum
fetch_value(VacAttrStatsP stats, int row, bool *isnull)
{
	*isnull = stats->exprnulls[row];
	return stats->exprvals[row];
}

/*
 * Returns what ANALYZE begins with for an expression; NULL where it would make none.
 */
static VacAttrStats *
begin_statistics(const WhatIfLeaf *leaf, int number)
{
	Node	   *expression = (Node *) ((TargetEntry *) list_nth(leaf->info.indextlist, number))->expr;
	VacAttrStats *stats = palloc0(sizeof(VacAttrStats));
	HeapTuple	tuple;
	bool		is_possible;

	stats->attrtypid = exprType(expression);
	stats->attrtypmod = exprTypmod(expression);
	stats->attrcollid = number < leaf->info.nkeycolumns && OidIsValid(leaf->info.indexcollations[number]) ?
		leaf->info.indexcollations[number] : exprCollation(expression);
	tuple = SearchSysCacheCopy1(TYPEOID, ObjectIdGetDatum(stats->attrtypid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", stats->attrtypid);
	stats->attrtype = (Form_pg_type) GETSTRUCT(tuple);
	stats->anl_context = CurrentMemoryContext;
	architect_set_default_target(stats);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		stats->statypid[i] = stats->attrtypid;
		stats->statyplen[i] = stats->attrtype->typlen;
		stats->statypbyval[i] = stats->attrtype->typbyval;
		stats->statypalign[i] = stats->attrtype->typalign;
	}
	is_possible = OidIsValid(stats->attrtype->typanalyze) ?
		DatumGetBool(OidFunctionCall1(stats->attrtype->typanalyze, PointerGetDatum(stats))) : std_typanalyze(stats);
	return is_possible && stats->compute_stats != NULL && stats->minrows > 0 ? stats : NULL;
}

/*
 * Sets the arrays of a row of pg_statistic.
 */
static void
set_arrays(const VacAttrStats *stats, Datum *values, bool *nulls)
{
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		int			numbers = Anum_pg_statistic_stanumbers1 - 1 + i;
		int			common = Anum_pg_statistic_stavalues1 - 1 + i;
		Datum	   *elements = palloc(Max(stats->numnumbers[i], 1) * sizeof(Datum));

		nulls[numbers] = stats->numnumbers[i] <= 0;
		nulls[common] = stats->numvalues[i] <= 0;
		for (int j = 0; j < stats->numnumbers[i]; j++)
			elements[j] = Float4GetDatum(stats->stanumbers[i][j]);
		if (!nulls[numbers])
			values[numbers] = PointerGetDatum(construct_array(elements, stats->numnumbers[i], FLOAT4OID,
															  sizeof(float4), true, TYPALIGN_INT));
		if (!nulls[common])
			values[common] = PointerGetDatum(construct_array(stats->stavalues[i], stats->numvalues[i],
															 stats->statypid[i], stats->statyplen[i],
															 stats->statypbyval[i], stats->statypalign[i]));
	}
}

/*
 * Makes a row of pg_statistic.
 */
static HeapTuple
form_row(const VacAttrStats *stats, Oid index, int number)
{
	Relation	rel = table_open(StatisticRelationId, AccessShareLock);
	Datum		values[Natts_pg_statistic] = {0};
	bool		nulls[Natts_pg_statistic] = {false};
	HeapTuple	row;

	values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(index);
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(number + 1);
	values[Anum_pg_statistic_stainherit - 1] = BoolGetDatum(false);
	values[Anum_pg_statistic_stanullfrac - 1] = Float4GetDatum(stats->stanullfrac);
	values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(stats->stawidth);
	values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum(stats->stadistinct);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		values[Anum_pg_statistic_stakind1 - 1 + i] = Int16GetDatum(stats->stakind[i]);
		values[Anum_pg_statistic_staop1 - 1 + i] = ObjectIdGetDatum(stats->staop[i]);
		values[Anum_pg_statistic_stacoll1 - 1 + i] = ObjectIdGetDatum(stats->stacoll[i]);
	}
	set_arrays(stats, values, nulls);
	row = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	table_close(rel, AccessShareLock);
	return row;
}

/*
 * Returns the row of pg_statistic that ANALYZE would make for a column of an index; NULL
 * where it would make none.  It is in the current memory context, with much else.
 */
HeapTuple
architect_whatif_analyze(const WhatIfLeaf *leaf, int number, const WhatIfEntries *entries)
{
	const WhatIfSample *sample = entries->sample;
	VacAttrStats *stats;
	IndexUser	user;

	if (entries->nentries == 0)
		return NULL;
	architect_index_begin_as_owner(leaf->definition->table, &user);
	stats = begin_statistics(leaf, number);
	if (stats != NULL)
	{
		stats->exprvals = entries->values[number];
		stats->exprnulls = entries->nulls[number];
		stats->rowstride = 1;
		stats->compute_stats(stats, fetch_value, entries->nentries,
							 ceil(sample->table_rows * entries->nentries / sample->nrows));
	}
	architect_index_end_as_owner(&user);
	return stats == NULL || !stats->stats_valid ? NULL : form_row(stats, leaf->oid, number);
}
