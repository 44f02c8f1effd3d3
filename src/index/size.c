/*
 * size.c
 *    How big an index would be if it were built now, by what the statistics say of
 *    its columns.
 *
 * Only what btree, hash and BRIN (minmax and inclusion) store is known.  The size of
 * others depends on the values themselves.
 */
#include "postgres.h"

#include <math.h>

#include "access/brin.h"
#include "access/brin_internal.h"
#include "access/hash.h"
#include "access/nbtree.h"
#include "access/sysattr.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "index/size.h"

/* Statistics are stale when more of the rows have changed since. */
#define STALE_SHARE 0.1

/*
 * Says why the statistics of a table cannot be relied on; NULL: they can.
 */
const char *
architect_index_stale(const IndexTable *table)
{
	/* CREATE INDEX counts rows as well; from PostgreSQL 18 on not where autovacuum is off. */
	if (table->rows < 0 || table->counts.last_analyze == 0)
		return "the table has not been analyzed, or it is not known when";
	if (table->counts.changes_since_analyze > STALE_SHARE * Max(table->rows, 1))
		return "the statistics of the table are stale";
	return NULL;
}

/*
 * Adds a column to the data of an entry: first what alignment takes on average.
 */
void
architect_index_lay_out(IndexLayout *layout, const IndexSizeColumn *column)
{
	double		aligned[MAXIMUM_ALIGNOF] = {0};

	for (int i = 0; i < MAXIMUM_ALIGNOF; i++)
	{
		int			end = TYPEALIGN(column->alignment, i);

		layout->size += layout->residues[i] * (end - i);
		aligned[end % MAXIMUM_ALIGNOF] += layout->residues[i];
	}
	layout->size += column->width;
	memset(layout->residues, 0, sizeof(layout->residues));
	for (int i = 0; i < MAXIMUM_ALIGNOF; i++)
	{
		for (int j = 0; j < MAXIMUM_ALIGNOF; j++)
			layout->residues[(i + j) % MAXIMUM_ALIGNOF] += aligned[i] * column->residues[j];
	}
}

/*
 * Returns how many bytes the data of an entry takes, up to the next that is aligned.
 */
double
architect_index_laid_out(IndexLayout layout)
{
	static const IndexSizeColumn end = {.alignment = MAXIMUM_ALIGNOF, .residues = {1}};

	architect_index_lay_out(&layout, &end);
	return layout.size;
}

static int
alignment_of(char align)
{
	switch (align)
	{
		case TYPALIGN_CHAR:
			return 1;
		case TYPALIGN_SHORT:
			return sizeof(int16);
		case TYPALIGN_INT:
			return sizeof(int32);
		default:
			return MAXIMUM_ALIGNOF;
	}
}

/*
 * Sets how wide the values are of what an index stores in a column.
 */
static void
set_width(IndexSizeColumn *column, const IndexColumn *stored, double width, bool is_computed, bool has_sample)
{
	column->alignment = alignment_of(stored->align);
	if (stored->length > 0)
	{
		column->width = stored->length;
		memset(column->residues, 0, sizeof(column->residues));
		column->residues[stored->length % MAXIMUM_ALIGNOF] = 1;
		return;
	}
	if (stored->length == -1)
		column->width = width;
	for (int i = 0; i < MAXIMUM_ALIGNOF && !has_sample; i++)
		column->residues[i] = 1.0 / MAXIMUM_ALIGNOF;
	if (stored->length == -1 && stored->storage != TYPSTORAGE_PLAIN)
	{
		/* What ANALYZE computed has a long header, but is stored with a short one. */
		if (is_computed && column->width - VARHDRSZ + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
			column->width -= VARHDRSZ - VARHDRSZ_SHORT;
		if (column->width <= VARATT_SHORT_MAX)
			column->alignment = 1;
	}
}

/*
 * True when the predicate of an index says so of a column.
 */
static bool
predicate_implies(List *predicate, const IndexTable *table, int16 attnum, NullTestType kind)
{
	const IndexColumn *column = &table->columns[attnum - 1];
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) makeVar(1, attnum, column->type, column->typmod, column->collation, 0);
	test->nulltesttype = kind;
	test->location = -1;
	return predicate_implied_by(list_make1(test), predicate, false);
}

/*
 * Has the statistics of a column be those of the rows that the predicate lets in.
 */
static void
apply_predicate(IndexSizeColumn *column, const IndexDefinition *index, int16 attnum, double entries)
{
	double		rows = Max(index->table->rows * (1 - column->null_share), 1);
	double		share = Min(entries / Max(index->table->rows, 1), 1);
	List	   *predicate = make_ands_implicit(stringToNode(index->predicate));
	Bitmapset  *attnums = NULL;

	pull_varattnos((Node *) predicate, 1, &attnums);
	if (attnum > 0 && bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, attnums))
	{
		column->nclasses = 0;
		if (predicate_implies(predicate, index->table, attnum, IS_NOT_NULL))
		{
			column->distinct = Max(column->distinct * Min(entries / rows, 1), 1);
			column->null_share = 0;
			return;
		}
		if (predicate_implies(predicate, index->table, attnum, IS_NULL))
			column->null_share = 1;
	}

	/* Some values have none of their rows among these. */
	column->distinct *= 1 - pow(1 - share, Max(rows / column->distinct, 1));
	column->distinct = Max(column->distinct, 1);
}

/*
 * Makes one class of all values that are in none, or that the predicate has changed.
 */
static void
complete_classes(IndexSizeColumn *column)
{
	IndexSizeClass rest = {1 - column->null_share, column->distinct};

	for (int i = 0; i < column->nclasses; i++)
	{
		rest.share -= column->classes[i].share;
		rest.distinct -= column->classes[i].distinct;
	}
	if (rest.share > 0.0001 || column->nclasses == 0)
	{
		rest.distinct = Max(rest.distinct, 1);
		column->classes[column->nclasses++] = rest;
	}
}

/*
 * Makes what the model sees of a column; false when there are no statistics.
 */
static bool
set_column(IndexSizeColumn *column, const IndexDefinition *index, int number, double entries)
{
	IndexTable *table = index->table;
	int16		attnum = index->attnums[number];
	const IndexColumn *stored = &index->columns[number];
	const IndexColumn *statistics = attnum > 0 ? &table->columns[attnum - 1] : stored;
	bool		is_computed = attnum == 0;
	bool		has_sample = false;

	if (!statistics->has_statistics)
	{
		/* Nothing else is needed of values that are as wide as each other, and different. */
		if (stored->length <= 0 || !statistics->not_null || (number < index->nkeys && !index->is_unique))
			return false;
	}
	column->null_share = statistics->null_share;
	column->distinct = statistics->distinct >= 0 ? statistics->distinct : -statistics->distinct * table->rows;
	column->distinct = Max(column->distinct, 1);
	if (statistics->has_statistics && (attnum > 0 || OidIsValid(index->oid)))
		has_sample = architect_index_read_sample(is_computed ? index->oid : table->oid,
												 is_computed ? number + 1 : attnum,
												 !is_computed && table->kind == RELKIND_PARTITIONED_TABLE,
												 stored->storage != TYPSTORAGE_PLAIN, column);
	set_width(column, stored, statistics->width, is_computed, has_sample);
	if (index->predicate != NULL)
		apply_predicate(column, index, attnum, entries);
	complete_classes(column);
	return true;
}

/*
 * True when equal keys are stored once (_bt_allequalimage).
 */
static bool
can_deduplicate(const IndexDefinition *index)
{
	if (!index->deduplicates || index->is_unique || index->ncolumns != index->nkeys)
		return false;
	for (int i = 0; i < index->nkeys; i++)
	{
		Oid			family = get_opclass_family(index->opclasses[i]);
		Oid			type = get_opclass_input_type(index->opclasses[i]);
		Oid			procedure = get_opfamily_proc(family, type, type, BTEQUALIMAGE_PROC);

		if (!OidIsValid(procedure) ||
			!DatumGetBool(OidFunctionCall1Coll(procedure, index->collations[i], ObjectIdGetDatum(type))))
			return false;
	}
	return true;
}

/*
 * Has the columns of a BRIN index be what its summaries store; false when that is not
 * known.
 */
static bool
summarize(const IndexDefinition *index, IndexShape *shape)
{
	static const IndexSizeColumn flag = {.width = 1, .residues = {0, 1}, .alignment = 1};
	IndexSizeColumn *columns = palloc(3 * shape->ncolumns * sizeof(IndexSizeColumn));
	int			ncolumns = 0;

	for (int i = 0; i < index->nkeys; i++)
	{
		Oid			type = get_opclass_input_type(index->opclasses[i]);
		Oid			info = get_opfamily_proc(get_opclass_family(index->opclasses[i]), type, type, BRIN_PROCNUM_OPCINFO);

		columns[ncolumns++] = shape->columns[i];
		if (info == F_BRIN_MINMAX_OPCINFO)
			columns[ncolumns++] = shape->columns[i];
		else if (info == F_BRIN_INCLUSION_OPCINFO)
		{
			columns[ncolumns++] = flag;
			columns[ncolumns++] = flag;
		}
		else
			return false;
	}
	shape->columns = columns;
	shape->ncolumns = ncolumns;
	return true;
}

/*
 * Returns the shape of an index with so many entries, NULL where there is a problem.
 * The index need not exist: then its oid is invalid, and its columns have what it
 * would store, with the statistics of expressions.
 */
IndexShape *
architect_index_shape(const IndexDefinition *index, double entries, const char **problem)
{
	IndexShape *shape = palloc0(sizeof(IndexShape));

	*problem = NULL;
	shape->access_method = index->access_method;
	shape->entries = entries;
	shape->nkeys = index->nkeys;
	shape->ncolumns = index->ncolumns;
	shape->columns = palloc0(index->ncolumns * sizeof(IndexSizeColumn));
	shape->table_rows = index->table->rows;
	shape->table_pages = index->table->pages;
	shape->pages_per_range = index->pages_per_range > 0 ? index->pages_per_range : BRIN_DEFAULT_PAGES_PER_RANGE;
	for (int i = 0; i < index->ncolumns; i++)
	{
		if (set_column(&shape->columns[i], index, i, entries))
			continue;
		*problem = "a column has no statistics, or they may not be read";
		return NULL;
	}
	switch (index->access_method)
	{
		case BTREE_AM_OID:
			shape->fillfactor = index->fillfactor > 0 ? index->fillfactor : BTREE_DEFAULT_FILLFACTOR;
			shape->deduplicates = can_deduplicate(index);
			if (shape->deduplicates && index->nkeys > 1 && index->predicate == NULL)
				shape->distinct = architect_index_read_distinct(index);
			return shape;
		case HASH_AM_OID:
			shape->fillfactor = index->fillfactor > 0 ? index->fillfactor : HASH_DEFAULT_FILLFACTOR;
			return shape;
		case BRIN_AM_OID:
			if (summarize(index, shape))
				return shape;
			*problem = "the size of indexes with its operator class is not known";
			return NULL;
		default:
			*problem = "the size of indexes of its access method is not known";
			return NULL;
	}
}

/*
 * Returns how many bytes an index of this shape takes.
 */
double
architect_index_shape_size(const IndexShape *shape)
{
	switch (shape->access_method)
	{
		case BTREE_AM_OID:
			return architect_index_btree_pages(shape) * BLCKSZ;
		case HASH_AM_OID:
			return architect_index_hash_pages(shape) * BLCKSZ;
		default:
			return architect_index_brin_pages(shape) * BLCKSZ;
	}
}

/*
 * Returns how many bytes an index would take if it were built now, or 0 with a problem.
 * One that does not exist has as many rows as its predicate would let in.
 */
double
architect_index_fresh_size(const IndexDefinition *index, const char **problem)
{
	IndexShape *shape;
	double		size = 0;
	ListCell   *cell;

	*problem = NULL;
	foreach(cell, index->partitions)
	{
		size += architect_index_fresh_size(lfirst(cell), problem);
		if (*problem != NULL)
			return 0;
	}
	if (index->is_partitioned)
		return size;
	if (index->table->rows < 0 || (index->predicate != NULL && index->rows < 0))
	{
		*problem = "the table has not been analyzed";
		return 0;
	}
	shape = architect_index_shape(index, index->predicate == NULL ? index->table->rows : index->rows, problem);
	return shape == NULL ? 0 : architect_index_shape_size(shape);
}
