/*
 * rule_expression.c
 *    Expressions that queries compare, and no index has: lower(email), data ->> 'k'.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/lsyscache.h"

#include "index/candidate.h"
#include "index/rules.h"

/* Enough values for an index to be worth it. */
#define MIN_DISTINCT	100

/* An expression, and the queries that compare it. */
typedef struct Candidate
{
	const IndexPredicate *predicate;	/* the first of those seen */
	List	   *queries;		/* IndexQuery */
	bool		is_compared;	/* not for equality alone */
} Candidate;

static bool
is_comparison(const IndexPredicate *predicate)
{
	return predicate->kind <= INDEX_RANGE;
}

/*
 * True when an index begins with what the predicate is about, or, in a hash index, is it.
 */
static bool
begins_with(const IndexDefinition *index, const IndexPredicate *predicate)
{
	return architect_index_is_usable(index) && is_comparison(predicate) &&
		(index->access_method == BTREE_AM_OID ||
		 (index->access_method == HASH_AM_OID && predicate->kind == INDEX_EQUALITY)) &&
		architect_index_key_is(index, 0, predicate);
}

static bool
is_served(IndexReview *review, const IndexTable *table, const IndexPredicate *predicate)
{
	ListCell   *cell;

	foreach(cell, table->indexes)
	{
		const IndexDefinition *index = lfirst(cell);

		if (!begins_with(index, predicate))
			continue;
		if (index->predicate != NULL)
			architect_index_doubt(review, "a partial index may do");
		return true;
	}
	return false;
}

/*
 * True when another condition of the access leaves few rows, and an index for it is there.
 */
static bool
is_narrowed(const IndexAccess *access)
{
	ListCell   *cell;

	foreach(cell, access->predicates)
	{
		const IndexPredicate *predicate = lfirst(cell);
		const IndexColumn *column = predicate->attnum > 0 ? &access->table->columns[predicate->attnum - 1] : NULL;
		ListCell   *inner;

		if (column == NULL || predicate->kind != INDEX_EQUALITY || !column->has_statistics ||
			(column->distinct >= 0 && column->distinct < MIN_DISTINCT))
			continue;
		foreach(inner, access->table->indexes)
		{
			const IndexDefinition *index = lfirst(inner);

			if (index->predicate == NULL && begins_with(index, predicate))
				return true;
		}
	}
	return false;
}

static void
add_predicate(List **candidates, IndexUse *use, const IndexPredicate *predicate)
{
	Candidate  *candidate = NULL;
	ListCell   *cell;

	foreach(cell, *candidates)
	{
		Candidate  *found = lfirst(cell);

		if (strcmp(found->predicate->expression, predicate->expression) == 0)
			candidate = found;
	}
	if (candidate == NULL)
	{
		candidate = palloc0(sizeof(Candidate));
		candidate->predicate = predicate;
		*candidates = lappend(*candidates, candidate);
	}
	candidate->queries = list_append_unique_ptr(candidate->queries, use->query);
	candidate->is_compared = candidate->is_compared || predicate->kind == INDEX_RANGE;
}

static List *
find_candidates(IndexReview *review, IndexTableUses *table)
{
	List	   *candidates = NIL;
	ListCell   *cell;

	foreach(cell, table->uses)
	{
		IndexUse   *use = lfirst(cell);
		ListCell   *inner;

		if (is_narrowed(use->access))
			continue;
		foreach(inner, use->access->predicates)
		{
			const IndexPredicate *predicate = lfirst(inner);

			if (predicate->expression != NULL && is_comparison(predicate) &&
				!is_served(review, table->table, predicate))
				add_predicate(&candidates, use, predicate);
		}
	}
	return candidates;
}

static IndexFinding *
begin_finding(IndexReview *review, IndexTable *table, const Candidate *candidate)
{
	bool		is_warning = table->pages >= INDEX_LARGE_PAGES && table->counts.seq_scans > 0;
	IndexFinding *finding = architect_index_finding(review, is_warning ? INDEX_WARNING : INDEX_HINT,
													INDEX_CONFIDENCE_LIKELY, table, NULL);

	finding->columns = list_make1(candidate->predicate->expression);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	architect_index_evidence(finding, "seq_scans", table->counts.seq_scans);
	architect_index_evidence_queries(finding, candidate->queries);
	architect_index_evidence_counts(review, finding);
	return finding;
}

/*
 * Reports an expression that has a parameter in it: which one it is, is not known.
 */
static void
report_unknown(IndexReview *review, IndexTable *table, const Candidate *candidate)
{
	IndexFinding *finding = begin_finding(review, table, candidate);

	finding->severity = INDEX_HINT;
	finding->confidence = INDEX_CONFIDENCE_HINT;
	architect_index_reason(finding, "Queries compare an expression that no index has: pg_stat_statements does not keep "
						   "the constant in it, so there is no statement.");
	architect_index_evidence_keys(finding, candidate->predicate);
}

static void
report(IndexReview *review, IndexTable *table, const Candidate *candidate)
{
	const IndexPredicate *predicate = candidate->predicate;
	const char *label = predicate->label != NULL ? predicate->label : "expr";
	IndexFinding *finding;

	if (predicate->has_parameters)
	{
		report_unknown(review, table, candidate);
		return;
	}
	if (!predicate->is_immutable)
	{
		architect_index_doubt(review, "an expression is not immutable");
		return;
	}
	if (predicate->type == BOOLOID || !OidIsValid(GetDefaultOpClass(predicate->type, BTREE_AM_OID)))
		return;
	finding = begin_finding(review, table, candidate);
	architect_index_reason(finding, "Queries compare the expression %s, and no index begins with it.",
						   candidate->is_compared ? "for its order" : "for equality");
	architect_index_propose_create(finding, list_make1(pstrdup(label)),
								   psprintf("USING btree (%s)", predicate->expression));
}

void
architect_index_rule_expression(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, architect_index_uses(review))
	{
		IndexTableUses *table = lfirst(cell);
		ListCell   *inner;

		if (table->table->pages < INDEX_SMALL_PAGES)
			continue;
		foreach(inner, find_candidates(review, table))
			report(review, table->table, lfirst(inner));
	}
}
