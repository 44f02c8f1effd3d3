/*
 * rule_redundant.c
 *    Indexes that another one, which has more in it, makes needless.
 */
#include "postgres.h"

#include "catalog/pg_am.h"

#include "compat.h"
#include "index/replacement.h"
#include "index/rules.h"

/* An index so many times as large is not as good for scans. */
#define FAR_LARGER 3

/*
 * Says how the other does what the index does.
 */
static const char *
describe(IndexCover cover)
{
	switch (cover)
	{
		case INDEX_COVER_STORED:
			return "has the same keys and stores more columns";
		case INDEX_COVER_SET:
			return "has its columns and more, and their order does not matter";
		case INDEX_COVER_EQUALITY:
			return "is a btree index, which finds equal values too";
		default:
			return "begins with its columns";
	}
}

static void
report(IndexReview *review, IndexDefinition *index, const IndexReplacement *wider)
{
	char	   *obstacle = architect_index_find_obstacle(index);
	double		ratio = index->pages == 0 ? 1 : (double) wider->index->pages / index->pages;
	bool		is_hint = obstacle != NULL || ratio >= FAR_LARGER || wider->cover == INDEX_COVER_EQUALITY ||
		architect_index_is_small(index->table);
	IndexFinding *finding = architect_index_finding(review, is_hint ? INDEX_HINT : INDEX_WARNING,
													INDEX_CONFIDENCE_PROVEN, index->table, index);
	StringInfoData more;

	initStringInfo(&more);
	if (ratio >= FAR_LARGER)
		appendStringInfo(&more, ", though it is %.0f times as large", ratio);
	if (obstacle != NULL)
		appendStringInfo(&more, "; what keeps this one from being dropped is %s", obstacle);
	architect_index_reason(finding, "The index \"%s\" %s%s.", wider->index->name, describe(wider->cover), more.data);
	architect_index_propose_replacement(review, finding, index, wider->index);
}

static void
report_guard(IndexReview *review, IndexDefinition *index, const IndexDefinition *guard)
{
	IndexFinding *finding = architect_index_finding(review,
													architect_index_is_small(index->table) ? INDEX_HINT : INDEX_WARNING,
													INDEX_CONFIDENCE_HINT, index->table, index);

	architect_index_reason(finding, "No scan uses it, and \"%s\" forbids the same rows.", guard->name);
	architect_index_propose_replacement(review, finding, index, guard);
}

/*
 * Returns an index whose first column has so few values that scans can skip through them
 * to the columns of this one.
 */
static IndexDefinition *
find_skipping(IndexReview *review, const IndexDefinition *index)
{
	ListCell   *cell;

	if (!ARCHITECT_CAN_SKIP_SCAN || index->is_unique || index->is_exclusion || index->parent != NULL ||
		index->of_extension || index->is_replica_identity || !index->is_valid || !index->is_live)
		return NULL;
	foreach(cell, index->table->indexes)
	{
		IndexDefinition *other = lfirst(cell);

		if (other != index && other->is_valid && other->is_ready && other->is_live &&
			architect_index_skips_to(other, index) && !architect_index_is_needed_for_key(index, other) &&
			!architect_index_is_unused(review, other))
			return other;
	}
	return NULL;
}

static void
report_skipping(IndexReview *review, IndexDefinition *index, const IndexDefinition *skipping)
{
	IndexFinding *finding = architect_index_finding(review, INDEX_HINT, INDEX_CONFIDENCE_HINT, index->table, index);

	architect_index_reason(finding,
			"Scans of \"%s\" can skip through the few values of its first column, unless the order counts.",
						   skipping->name);
	architect_index_propose_replacement(review, finding, index, skipping);
}

static void
judge(IndexReview *review, IndexDefinition *index)
{
	IndexReplacement wider;
	IndexDefinition *other;

	if (!index->is_valid)
		return;
	if (architect_index_find_replacement(review, index, false, &wider))
		report(review, index, &wider);
	else if ((other = architect_index_find_guard(review, index)) != NULL)
		report_guard(review, index, other);
	else if ((other = find_skipping(review, index)) != NULL)
		report_skipping(review, index, other);
}

void
architect_index_rule_redundant(IndexReview *review)
{
	architect_index_each(review, judge);
}
