/*
 * rule_missing.c
 *    Tables that are read from end to end in large part, and the index that the queries
 *    which do so ask for.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "index/missing.h"
#include "index/rules.h"

/* Smaller tables are read in no time. */
#define FEW_PAGES (1024 * 1024 / BLCKSZ)
#define MANY_PAGES (8 * 1024 * 1024 / BLCKSZ)

#define FEW_SCANS 10

/* As many indexes of a table are proposed at once. */
#define MOST_CANDIDATES 3

/*
 * True when most rows that are read of the table are read by reading all of it.
 */
static bool
is_read_whole(const IndexTable *table)
{
	const IndexCounts *counts = &table->counts;

	return table->reported && !table->of_extension && table->parent == NULL &&
		table->pages >= FEW_PAGES && counts->seq_scans >= FEW_SCANS &&
		counts->seq_rows >= counts->index_rows && counts->seq_rows >= counts->seq_scans * table->rows / 10;
}

/*
 * True when each call of the query reads so much that it reads the whole table.  Of
 * partitions it may read some.
 */
static bool
reads_whole(const IndexQuery *query, const IndexTable *table)
{
	double		pages = table->kind == RELKIND_PARTITIONED_TABLE ? FEW_PAGES : table->pages / 2;

	return query->blocks >= query->calls * pages;
}

static bool
is_same_column(const IndexSort *left, const IndexSort *right)
{
	return left->attnum == right->attnum && left->is_descending == right->is_descending &&
		left->nulls_first == right->nulls_first;
}

/* True when one of the two begins as the other is. */
static bool
is_prefix(const IndexCandidate *left, const IndexCandidate *right)
{
	for (int i = 0; i < Min(left->ncolumns, right->ncolumns); i++)
	{
		if (!is_same_column(&left->columns[i], &right->columns[i]))
			return false;
	}
	return true;
}

/*
 * Adds a candidate, or makes one of it and another that serves both.
 */
static List *
merge_candidate(List *candidates, IndexCandidate *candidate)
{
	ListCell   *cell;

	foreach(cell, candidates)
	{
		IndexCandidate *other = lfirst(cell);

		if (other->table != candidate->table || !is_prefix(other, candidate))
			continue;
		if (candidate->ncolumns > other->ncolumns)
		{
			other->ncolumns = candidate->ncolumns;
			memcpy(other->columns, candidate->columns, sizeof(other->columns));
			other->share = candidate->share;
		}
		other->queries = list_append_unique_ptr(other->queries, linitial(candidate->queries));
		other->calls += candidate->calls;
		other->milliseconds += candidate->milliseconds;
		return candidates;
	}
	return lappend(candidates, candidate);
}

static int
count_of_table(const List *candidates, const IndexTable *table)
{
	int			count = 0;
	ListCell   *cell;

	foreach(cell, candidates)
		count += ((IndexCandidate *) lfirst(cell))->table == table;
	return count;
}

/*
 * Returns what the queries ask for; those that take most time come first.
 */
static List *
collect_candidates(IndexReview *review, const IndexWorkload *workload)
{
	List	   *candidates = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, workload->queries)
	{
		IndexQuery *query = lfirst(cell);

		foreach(inner, query->accesses)
		{
			IndexAccess *access = lfirst(inner);
			IndexCandidate *candidate;

			if (!is_read_whole(access->table) || !reads_whole(query, access->table))
				continue;
			candidate = architect_index_candidate(review, query, access);
			if (candidate != NULL && (count_of_table(candidates, access->table) < MOST_CANDIDATES))
				candidates = merge_candidate(candidates, candidate);
		}
	}
	return candidates;
}

/*
 * Returns an index that the candidate makes needless: it is the first columns of it, and
 * no more.
 */
static IndexDefinition *
find_replaced(const IndexCandidate *candidate)
{
	ListCell   *cell;

	foreach(cell, candidate->table->indexes)
	{
		IndexDefinition *index = lfirst(cell);
		bool		is_replaced = index->access_method == BTREE_AM_OID && index->is_valid && !index->is_unique &&
			index->constraint_type == '\0' && !index->is_replica_identity && !index->is_clustered &&
			!index->of_extension && index->predicate == NULL && index->ncolumns == index->nkeys &&
			index->ncolumns < candidate->ncolumns;

		for (int i = 0; is_replaced && i < index->nkeys; i++)
			is_replaced = index->attnums[i] == candidate->columns[i].attnum && index->options[i] == 0;
		if (is_replaced)
			return index;
	}
	return NULL;
}

/*
 * Proposes the index, and to drop one that it replaces.
 */
static void
propose(IndexFinding *finding, const IndexCandidate *candidate)
{
	IndexDefinition *replaced = find_replaced(candidate);
	IndexFinding drop = {.table = finding->table};
	StringInfoData body;
	bool		is_plain = true;

	initStringInfo(&body);
	for (int i = 0; i < candidate->ncolumns; i++)
	{
		const IndexSort *column = &candidate->columns[i];
		const char *nulls = column->nulls_first == column->is_descending ? "" :
			column->nulls_first ? " NULLS FIRST" : " NULLS LAST";

		appendStringInfo(&body, "%s%s%s%s", i == 0 ? "USING btree (" : ", ",
						 quote_identifier(finding->table->columns[column->attnum - 1].name),
						 column->is_descending ? " DESC" : "", nulls);
		is_plain = is_plain && !column->is_descending && !column->nulls_first;
	}
	appendStringInfoChar(&body, ')');
	architect_index_propose_create(finding, finding->columns, is_plain ? NULL : body.data);
	if (replaced == NULL)
		return;
	architect_index_propose_drop(&drop, replaced);
	finding->statement = psprintf("%s\n%s", finding->statement, drop.statement);
	finding->undo = psprintf("%s\n%s", drop.undo, finding->undo);
	architect_index_evidence_text(finding, "replaces", replaced->name);
}

static void
add_counters(IndexReview *review, IndexFinding *finding)
{
	const IndexTable *table = finding->table;

	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "table_bytes", (double) table->pages * BLCKSZ);
	architect_index_evidence(finding, "seq_scans", table->counts.seq_scans);
	architect_index_evidence(finding, "seq_rows", table->counts.seq_rows);
	architect_index_evidence(finding, "index_scans", table->counts.index_scans);
	architect_index_evidence(finding, "index_rows", table->counts.index_rows);
	architect_index_evidence_counts(review, finding);
}

static void
report_candidate(IndexReview *review, const IndexCandidate *candidate)
{
	IndexTable *table = candidate->table;
	IndexFinding *finding;
	StringInfoData names;

	finding = architect_index_finding(review, table->pages >= MANY_PAGES ? INDEX_WARNING : INDEX_HINT,
									  INDEX_CONFIDENCE_LIKELY, table, NULL);
	initStringInfo(&names);
	for (int i = 0; i < candidate->ncolumns; i++)
	{
		char	   *name = table->columns[candidate->columns[i].attnum - 1].name;

		finding->columns = lappend(finding->columns, name);
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", name);
	}
	architect_index_reason(finding, "Queries find rows by %s, and read the whole table for it: no index serves them.",
						   names.data);
	add_counters(review, finding);
	architect_index_evidence(finding, "calls", candidate->calls);
	architect_index_evidence(finding, "milliseconds", candidate->milliseconds);
	architect_index_evidence(finding, "row_share", candidate->share);
	architect_index_evidence_queries(finding, candidate->queries);
	architect_index_evidence_time(finding, "queries_since", review->workload->since);
	propose(finding, candidate);
}

/*
 * Without the queries only the table can be named.
 */
static void
report_table(IndexReview *review, IndexTable *table)
{
	IndexFinding *finding = architect_index_finding(review, INDEX_HINT, INDEX_CONFIDENCE_HINT, table, NULL);

	architect_index_reason(finding, "Most rows are read by reading the whole table; which index would serve the "
						   "queries is not known without their texts.");
	add_counters(review, finding);
}

void
architect_index_rule_missing(IndexReview *review)
{
	IndexWorkload *workload = architect_index_workload(review);
	ListCell   *cell;

	if (workload->problem != NULL)
	{
		foreach(cell, review->facts->tables)
		{
			IndexTable *table = lfirst(cell);

			if (!is_read_whole(table) || table->pages < MANY_PAGES)
				continue;
			report_table(review, table);
			architect_index_doubt(review, "%s", workload->problem);
		}
		return;
	}
	foreach(cell, collect_candidates(review, workload))
		report_candidate(review, lfirst(cell));
	if (workload->nunread > 0)
		architect_index_doubt(review, "texts of queries could not be read");
}
