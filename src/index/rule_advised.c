/*
 * rule_advised.c
 *    What the reader was advised, has kept and not done.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "index/candidate.h"
#include "index/kept.h"
#include "index/rules.h"

/* As many queries are in the evidence. */
#define MOST_SHOWN 5

static IndexConfidence
get_confidence(const IndexKept *kept)
{
	if (kept->confidence != NULL && strcmp(kept->confidence, "proven") == 0)
		return INDEX_CONFIDENCE_PROVEN;
	if (kept->confidence != NULL && strcmp(kept->confidence, "likely") == 0)
		return INDEX_CONFIDENCE_LIKELY;
	return INDEX_CONFIDENCE_HINT;
}

static void
add_queries(IndexFinding *finding, Jsonb *queries)
{
	JsonbValue	key = {.type = jbvString, .val.string = {.val = "queries", .len = strlen("queries")}};
	int			count = JB_ROOT_IS_ARRAY(queries) ? JB_ROOT_COUNT(queries) : 0;

	(void) pushJsonbValue(&finding->evidence, WJB_KEY, &key);
	(void) pushJsonbValue(&finding->evidence, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < Min(count, MOST_SHOWN); i++)
		(void) pushJsonbValue(&finding->evidence, WJB_ELEM, getIthJsonbValueFromContainer(&queries->root, i));
	(void) pushJsonbValue(&finding->evidence, WJB_END_ARRAY, NULL);
	architect_index_evidence(finding, "query_count", count);
}

/*
 * True when the body is that of a btree index of columns and no more.
 */
static bool
is_plain(const IndexKept *kept)
{
	StringInfoData body;
	ListCell   *cell;

	initStringInfo(&body);
	foreach(cell, kept->names)
		appendStringInfo(&body, "%s%s", cell == list_head(kept->names) ? "USING btree (" : ", ",
						 quote_identifier(lfirst(cell)));
	appendStringInfoChar(&body, ')');
	return strcmp(body.data, kept->body) == 0;
}

/*
 * Proposes it as things are now: names may be taken, and partitions have come and gone.
 */
static void
propose(IndexFinding *finding, const IndexKept *kept)
{
	if (kept->is_drop)
	{
		finding->columns = architect_index_column_texts(kept->index);
		finding->benefit_bytes = kept->bytes;
		architect_index_propose_drop(finding, kept->index);
		return;
	}
	finding->columns = kept->columns;
	architect_index_propose_create(finding, kept->names, is_plain(kept) ? NULL : kept->body);
}

/*
 * True when another rule has found the same, and proposes the same index.
 */
static bool
is_found(const IndexReview *review, const IndexKept *kept)
{
	ListCell   *cell;

	foreach(cell, kept->is_drop ? NIL : review->findings)
	{
		const IndexFinding *finding = lfirst(cell);
		const char *body = finding->table == kept->table && finding->statement != NULL ?
				architect_index_body(finding->statement) : NULL;

		if (body != NULL && strncmp(body, kept->body, strlen(kept->body)) == 0 && body[strlen(kept->body)] == ';')
			return true;
	}
	return false;
}

static void
report(IndexReview *review, IndexKept *kept)
{
	IndexFinding *finding;

	finding = architect_index_finding(review, architect_index_is_small(kept->table) ? INDEX_HINT : INDEX_WARNING,
									  get_confidence(kept), kept->table, kept->is_drop ? kept->index : NULL);
	architect_index_reason(finding, "%s", kept->reason != NULL ? kept->reason : "The advice kept last says so.");
	architect_index_evidence_time(finding, "advised_at", kept->advised_at);
	architect_index_evidence(finding, "size_bytes", kept->bytes);
	architect_index_evidence(finding, "cost_before", kept->cost_before);
	architect_index_evidence(finding, "cost_after", kept->cost_after);
	add_queries(finding, kept->queries);
	propose(finding, kept);
}

void
architect_index_rule_advised(IndexReview *review)
{
	ListCell   *cell;

	foreach(cell, architect_index_read_kept(review->facts))
	{
		IndexKept  *kept = lfirst(cell);

		if (!kept->is_latest || kept->table == NULL || !kept->table->reported || kept->table->of_extension)
			continue;
		if (kept->problem != NULL)
			architect_index_doubt(review, "%s", kept->problem);
		else if (!architect_index_is_done(kept) && !is_found(review, kept))
			report(review, kept);
	}
}
