/*
 * rule_brin.c
 *    Big btrees on columns whose values lie in the order of the rows, and that are
 *    asked for long ranges: a BRIN index does that in a thousandth of the room.
 */
#include "postgres.h"

#include <math.h>

#include "access/brin.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/lsyscache.h"

#include "index/index.h"
#include "index/rules.h"
#include "index/size.h"
#include "index/workload.h"

#define LEAST_TABLE_PAGES (128 * 1024 * 1024 / BLCKSZ)
#define LEAST_BENEFIT (10.0 * 1024 * 1024)
#define LEAST_CORRELATION 0.9

/* A scan reads whole ranges of pages; it must want at least this share of one. */
#define LEAST_RANGE 0.5

/*
 * True when ranges are asked of a type: numbers and times.
 */
static bool
is_ordinal(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return (category == TYPCATEGORY_NUMERIC || category == TYPCATEGORY_DATETIME) &&
		OidIsValid(GetDefaultOpClass(type, BRIN_AM_OID));
}

/*
 * Returns how far the values lie in the order of the rows: in the partition where they
 * do least.  0 where it is not known.
 */
static double
find_correlation(const IndexDefinition *index)
{
	double		least = 1;
	ListCell   *cell;

	if (!index->is_partitioned)
		return fabs(index->table->columns[index->attnums[0] - 1].correlation);
	foreach(cell, index->partitions)
	{
		const IndexDefinition *partition = lfirst(cell);

		if (partition->is_partitioned || partition->table->rows != 0)
			least = Min(least, find_correlation(partition));
	}
	return least;
}

/*
 * True when something needs what only a btree gives: order, or single rows.
 */
static bool
needs_btree(IndexReview *review, const IndexDefinition *index)
{
	IndexTable *table = index->table;
	ListCell   *cell;

	foreach(cell, table->foreign_keys)
	{
		if (architect_index_supports(index, lfirst(cell)))
			return true;
	}
	foreach(cell, architect_index_workload(review)->queries)
	{
		IndexQuery *query = lfirst(cell);
		ListCell   *inner;

		foreach(inner, query->accesses)
		{
			IndexAccess *access = lfirst(inner);
			ListCell   *innermost;

			if (access->table != table)
				continue;
			if (bms_is_member(index->attnums[0], access->unread))
				return true;
			if (access->sort != NIL && access->is_limited &&
				((IndexSort *) linitial(access->sort))->attnum == index->attnums[0])
				return true;
			foreach(innermost, access->predicates)
			{
				IndexPredicate *predicate = lfirst(innermost);

				if (predicate->attnum == index->attnums[0] && predicate->kind == INDEX_EQUALITY)
					return true;
			}
		}
	}
	return false;
}

/*
 * True for a big btree of one column and nothing else.
 */
static bool
is_candidate(const IndexDefinition *index)
{
	return index->parent == NULL && index->access_method == BTREE_AM_OID && index->is_valid &&
		!index->is_unique && !index->is_clustered && !index->of_extension && index->constraint_type == '\0' &&
		index->ncolumns == 1 && index->attnums[0] > 0 && index->predicate == NULL &&
		(double) index->pages * BLCKSZ >= LEAST_BENEFIT && index->counts.index_scans > 0 &&
		is_ordinal(index->table->columns[index->attnums[0] - 1].type);
}

/*
 * Returns how many bytes a BRIN index of the same column takes.
 */
static double
brin_size(const IndexDefinition *index)
{
	const IndexColumn *column = &index->table->columns[index->attnums[0] - 1];
	IndexSizeColumn summary[2] = {{.width = Max(column->width, 1), .alignment = 1, .residues = {1}}};
	IndexShape	shape = {
		.access_method = BRIN_AM_OID,
		.entries = index->table->rows,
		.nkeys = 1,
		.ncolumns = 2,
		.columns = summary,
		.table_pages = index->table->pages,
		.pages_per_range = BRIN_DEFAULT_PAGES_PER_RANGE,
	};

	summary[1] = summary[0];
	return architect_index_shape_size(&shape);
}

static void
check_index(IndexReview *review, IndexDefinition *index)
{
	IndexTable *table = index->table;
	double		size = (double) index->pages * BLCKSZ;
	double		rows_a_scan;
	double		rows_a_range = table->rows / table->pages * BRIN_DEFAULT_PAGES_PER_RANGE;
	double		correlation;
	double		new_size;
	IndexFinding *finding;

	if (!is_candidate(index))
		return;
	correlation = find_correlation(index);
	if (correlation == 0)
		architect_index_doubt(review, "a column has no statistics, or they may not be read");
	rows_a_scan = index->counts.index_rows / index->counts.index_scans;
	if (correlation < LEAST_CORRELATION || rows_a_scan < rows_a_range * LEAST_RANGE || needs_btree(review, index))
		return;
	new_size = brin_size(index);
	if (size - new_size < LEAST_BENEFIT)
		return;

	finding = architect_index_finding(review, INDEX_HINT, review->workload->problem == NULL ?
									  INDEX_CONFIDENCE_LIKELY : INDEX_CONFIDENCE_HINT, table, index);
	finding->columns = architect_index_column_texts(index);
	architect_index_reason(finding, "The values lie in the order of the rows and a scan reads %.0f of them: "
						   "a BRIN index serves that, and takes next to nothing.", rows_a_scan);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	architect_index_evidence(finding, "index_bytes", size);
	architect_index_evidence(finding, "brin_bytes", new_size);
	architect_index_evidence(finding, "correlation", correlation);
	architect_index_evidence(finding, "scans", index->counts.index_scans);
	architect_index_evidence(finding, "rows_a_scan", rint(rows_a_scan));
	architect_index_evidence_counts(review, finding);
	finding->benefit_bytes = size - new_size;
	architect_index_propose_replace(finding, index, NIL,
									psprintf("USING brin (%s)", architect_index_column_text(index, 0)));
}

void
architect_index_rule_brin(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (!table->reported || table->of_extension || table->pages < LEAST_TABLE_PAGES || table->rows <= 0)
			continue;
		foreach(inner, table->indexes)
			check_index(review, lfirst(inner));
	}
}
