/*
 * rule_duplicate.c
 *    Indexes with the same keys as another one, which does all that they do.
 */
#include "postgres.h"

#include "index/replacement.h"
#include "index/rules.h"

static void
judge(IndexReview *review, IndexDefinition *index)
{
	IndexTable *table = index->table;
	IndexReplacement same;
	IndexFinding *finding;
	char	   *obstacle;
	const char *how;

	if (!index->is_valid || !architect_index_find_replacement(review, index, true, &same))
		return;
	obstacle = architect_index_find_obstacle(index);
	finding = architect_index_finding(review,
									  obstacle != NULL || architect_index_is_small(table) ? INDEX_HINT : INDEX_WARNING,
									  INDEX_CONFIDENCE_PROVEN, table, index);
	how = same.cover == INDEX_COVER_SAME ? "It does the same as" : "Read backward it does the same as";
	if (obstacle != NULL)
		architect_index_reason(finding, "%s \"%s\", which %s; what keeps it from being dropped is %s.", how,
							   same.index->name, same.why, obstacle);
	else
		architect_index_reason(finding, "%s \"%s\", which %s.", how, same.index->name, same.why);
	architect_index_propose_replacement(review, finding, index, same.index);
}

void
architect_index_rule_duplicate(IndexReview *review)
{
	architect_index_each(review, judge);
}
