/*
 * facts_column.c
 *    Reads the columns of tables and indexes, and their statistics.
 *
 * Who may not read a column may not see its statistics either: the rule is that of
 * the view pg_stats.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_statistic.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "index/facts.h"

/*
 * Returns the column of a relation, or NULL where we know none such.
 */
static IndexColumn *
find_column(IndexFacts *facts, Oid relation, int16 attnum)
{
	IndexTable *table = architect_index_find_table(facts, relation);
	IndexDefinition *index = architect_index_find_index(facts, relation);

	if (table != NULL && attnum > 0 && attnum <= table->ncolumns)
		return &table->columns[attnum - 1];
	if (index != NULL && attnum > 0 && attnum <= index->ncolumns)
		return &index->columns[attnum - 1];
	return NULL;
}

static void
read_column(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_attribute form = (Form_pg_attribute) GETSTRUCT(tuple);
	IndexColumn *column = find_column(facts, form->attrelid, form->attnum);

	if (column == NULL || form->attisdropped)
		return;
	if (architect_index_find_table(facts, form->attrelid) != NULL)
		column->name = pstrdup(NameStr(form->attname));
	column->type = form->atttypid;
	column->typmod = form->atttypmod;
	column->collation = form->attcollation;
	column->length = form->attlen;
	column->align = form->attalign;
	column->by_value = form->attbyval;
	column->storage = form->attstorage;
	column->generated = form->attgenerated;
	column->not_null = form->attnotnull;
	column->has_acl = !heap_attisnull(tuple, Anum_pg_attribute_attacl, desc);
	column->statistics_target = architect_statistics_target(tuple, desc);
}

/*
 * True when the reader may see the statistics of a column; 0 stands for all of them.
 */
static bool
may_see(const IndexTable *table, int16 attnum)
{
	bool		is_missing = false;

	if (table->is_filtered || table->is_readable)
		return !table->is_filtered;
	return attnum > 0 && table->columns[attnum - 1].has_acl &&
		pg_attribute_aclcheck_ext(table->oid, attnum, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK;
}

static float4
find_correlation(HeapTuple tuple)
{
	AttStatsSlot slot;
	float4		correlation;

	if (!get_attstatsslot(&slot, tuple, STATISTIC_KIND_CORRELATION, InvalidOid, ATTSTATSSLOT_NUMBERS))
		return 0;
	correlation = slot.numbers[0];
	free_attstatsslot(&slot);
	return correlation;
}

static void
read_statistics(IndexFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_statistic form = (Form_pg_statistic) GETSTRUCT(tuple);
	IndexTable *table = architect_index_find_table(facts, form->starelid);
	IndexDefinition *index = architect_index_find_index(facts, form->starelid);
	IndexColumn *column = find_column(facts, form->starelid, form->staattnum);

	if (column == NULL || (table != NULL && column->name == NULL))
		return;
	if (table != NULL && form->stainherit != (table->kind == RELKIND_PARTITIONED_TABLE))
		return;

	/* An expression is seen by those who may read the whole table. */
	if (table != NULL ? !may_see(table, form->staattnum) : !may_see(index->table, 0))
		return;
	column->has_statistics = true;
	column->null_share = form->stanullfrac;
	column->width = form->stawidth;
	column->distinct = form->stadistinct;
	column->correlation = find_correlation(tuple);
}

void
architect_index_read_columns(IndexFacts *facts)
{
	architect_index_read_catalog(facts, AttributeRelationId, read_column);
}

void
architect_index_read_statistics(IndexFacts *facts)
{
	architect_index_read_catalog(facts, StatisticRelationId, read_statistics);
}
