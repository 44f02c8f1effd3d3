/*
 * rule_hash.c
 *    Big btrees on wide values that queries only compare for equality: a hash index
 *    stores four bytes of each.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "utils/lsyscache.h"

#include "index/index.h"
#include "index/rules.h"
#include "index/size.h"
#include "index/workload.h"

#define LEAST_BENEFIT (10.0 * 1024 * 1024)

/* A hash index must be at most this share of a btree just built. */
#define MOST_SHARE 0.7

/* What queries do with the column of an index. */
typedef struct Use
{
	double		calls;			/* of queries that compare it for equality */
	bool		needs_btree;
} Use;

/*
 * Adds what a query does with the column.
 */
static void
add_access(Use *use, const IndexQuery *query, const IndexAccess *access, int16 attnum)
{
	bool		is_compared = false;
	ListCell   *cell;

	if (bms_is_member(attnum, access->unread))
		use->needs_btree = true;
	foreach(cell, access->sort)
	{
		if (((IndexSort *) lfirst(cell))->attnum == attnum)
			use->needs_btree = true;
	}
	foreach(cell, access->predicates)
	{
		IndexPredicate *predicate = lfirst(cell);

		if (predicate->attnum != attnum)
			continue;
		if (predicate->kind != INDEX_EQUALITY || strcmp(predicate->operator, "IS NULL") == 0)
			use->needs_btree = true;
		is_compared = true;
	}

	/* A btree alone can give the values themselves. */
	if (is_compared && access->columns != NULL && bms_num_members(access->columns) == 1)
		use->needs_btree = true;
	if (is_compared)
		use->calls += query->calls;
}

static Use
find_use(IndexReview *review, const IndexDefinition *index)
{
	Use			use = {0};
	ListCell   *cell;

	foreach(cell, architect_index_workload(review)->queries)
	{
		IndexQuery *query = lfirst(cell);
		ListCell   *inner;

		foreach(inner, query->accesses)
		{
			IndexAccess *access = lfirst(inner);

			if (access->table == index->table)
				add_access(&use, query, access, index->attnums[0]);
		}
	}
	return use;
}

/*
 * True for a big btree of one column, of values that are wide, and nothing else.
 */
static bool
is_candidate(const IndexDefinition *index)
{
	return index->parent == NULL && index->access_method == BTREE_AM_OID && index->is_valid &&
		!index->is_unique && !index->is_clustered && !index->of_extension && index->constraint_type == '\0' &&
		index->ncolumns == 1 && index->attnums[0] > 0 && index->predicate == NULL &&
		index->table->columns[index->attnums[0] - 1].length == -1 &&
		(double) index->pages * BLCKSZ >= LEAST_BENEFIT && index->counts.index_scans > 0;
}

/*
 * Returns how many bytes a hash index on the same column takes, or 0 where there cannot
 * be one.
 */
static double
hash_size(const IndexDefinition *index, const char **problem)
{
	IndexDefinition hash = *index;
	Oid			opclass = GetDefaultOpClass(get_opclass_input_type(index->opclasses[0]), HASH_AM_OID);
	double		size = 0;
	ListCell   *cell;

	*problem = NULL;
	if (!OidIsValid(opclass))
		return 0;
	foreach(cell, index->partitions)
		size += *problem == NULL ? hash_size(lfirst(cell), problem) : 0;
	if (index->is_partitioned)
		return size;
	hash.access_method = HASH_AM_OID;
	hash.opclasses = &opclass;
	hash.fillfactor = 0;
	return architect_index_fresh_size(&hash, problem);
}

static void
check_index(IndexReview *review, IndexDefinition *index)
{
	const char *problem;
	double		size = (double) index->pages * BLCKSZ;
	double		fresh;
	double		new_size;
	Use			use;
	IndexFinding *finding;

	if (!is_candidate(index))
		return;
	fresh = architect_index_fresh_size(index, &problem);
	new_size = problem == NULL ? hash_size(index, &problem) : 0;
	if (problem != NULL)
		architect_index_doubt(review, "%s", problem);
	if (new_size == 0 || new_size > fresh * MOST_SHARE || size - new_size < LEAST_BENEFIT)
		return;
	use = find_use(review, index);
	if (review->workload->problem != NULL)
		architect_index_doubt(review, "%s", review->workload->problem);
	if (use.needs_btree || use.calls == 0)
		return;

	finding = architect_index_finding(review, INDEX_HINT, INDEX_CONFIDENCE_HINT, index->table, index);
	finding->columns = architect_index_column_texts(index);
	architect_index_reason(finding, "Queries only compare the column for equality: a hash index does not store the "
						   "values, and takes %.0f %% of what the btree would.", 100 * new_size / fresh);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "index_bytes", size);
	architect_index_evidence(finding, "fresh_bytes", fresh);
	architect_index_evidence(finding, "hash_bytes", new_size);
	architect_index_evidence(finding, "scans", index->counts.index_scans);
	architect_index_evidence(finding, "calls", use.calls);
	architect_index_evidence(finding, "queries_not_read", review->workload->nunread);
	architect_index_evidence_counts(review, finding);
	finding->benefit_bytes = size - new_size;
	architect_index_propose_replace(finding, index, NIL,
									psprintf("USING hash (%s)", architect_index_column_text(index, 0)));
}

void
architect_index_rule_hash(IndexReview *review)
{
	architect_index_each(review, check_index);
}
