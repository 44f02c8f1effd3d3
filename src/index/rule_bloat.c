/*
 * rule_bloat.c
 *    Indexes that take much more room than they would if they were built anew.
 *
 * Where the model does not know the size of a fresh one, or statistics are stale, it is
 * a doubt and no finding.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_am.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "index/index.h"
#include "index/rules.h"
#include "index/size.h"

/* What is wasted must be at least so much, of the index and in bytes. */
#define LEAST_SHARE 0.3
#define LEAST_BYTES (10.0 * 1024 * 1024)

/* From here on it is a warning. */
#define GRAVE_SHARE 0.5
#define GRAVE_BYTES (1024.0 * 1024 * 1024)

/* Counts of rows that differ by more than this are not of the same time. */
#define ROWS_SHARE 0.1

static char *
pretty(double bytes)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) bytes)));
}

/*
 * Says why the size of an index cannot be compared with that of a fresh one; NULL: it
 * can.
 */
static const char *
find_problem(const IndexDefinition *index)
{
	const char *problem = index->is_partitioned ? NULL : architect_index_stale(index->table);
	ListCell   *cell;

	foreach(cell, index->partitions)
	{
		if (problem == NULL)
			problem = find_problem(lfirst(cell));
	}
	if (problem == NULL && !index->is_partitioned && index->access_method == BTREE_AM_OID)
	{
		double		more = index->rows - index->table->rows;

		if ((index->predicate == NULL ? fabs(more) : more) > ROWS_SHARE * index->table->rows)
			problem = "the rows of the index and of the table were counted at different times";
	}
	return problem;
}

static void
check_index(IndexReview *review, IndexDefinition *index)
{
	double		size = (double) index->pages * BLCKSZ;
	const char *problem;
	double		fresh;
	double		wasted;
	IndexFinding *finding;

	if (index->parent != NULL || index->of_extension || !index->is_valid || size < LEAST_BYTES)
		return;
	problem = find_problem(index);
	fresh = problem == NULL ? architect_index_fresh_size(index, &problem) : 0;
	if (problem != NULL)
	{
		architect_index_doubt(review, "%s", problem);
		return;
	}
	wasted = size - fresh;
	if (wasted < LEAST_BYTES || wasted < size * LEAST_SHARE)
		return;

	finding = architect_index_finding(review, wasted >= GRAVE_BYTES && wasted >= size * GRAVE_SHARE ?
									  INDEX_WARNING : INDEX_HINT,
									  INDEX_CONFIDENCE_LIKELY, index->table, index);
	finding->columns = architect_index_column_texts(index);
	architect_index_reason(finding, "The index takes %s, and would take about %s if it were built anew.",
						   pretty(size), pretty(fresh));
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "index_bytes", size);
	architect_index_evidence(finding, "fresh_bytes", fresh);
	architect_index_evidence(finding, "changes_since_analyze", index->table->counts.changes_since_analyze);
	architect_index_evidence_time(finding, "last_analyze", index->table->counts.last_analyze);
	finding->benefit_bytes = wasted;
	architect_index_propose_rebuild(finding, index);
}

void
architect_index_rule_bloat(IndexReview *review)
{
	architect_index_each(review, check_index);
}
