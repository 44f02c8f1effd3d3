/*
 * finding.c
 *    Makes findings: the reason, the evidence, and which of several says it all.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "index/index.h"

static char *format_text(const char *format, va_list *arguments) pg_attribute_printf(1, 0);

/*
 * Looks at the indexes of all tables that there may be findings about.
 */
void
architect_index_each(IndexReview *review, void (*look) (IndexReview *review, IndexDefinition *index))
{
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		ListCell   *inner;

		if (!table->reported || table->of_extension)
			continue;
		foreach(inner, table->indexes)
			look(review, lfirst(inner));
	}
}

/*
 * Returns a text in as much memory as it takes: there can be thousands of findings.
 */
char *
architect_index_trim(char *text)
{
	char	   *trimmed = pstrdup(text);

	pfree(text);
	return trimmed;
}

static char *
format_text(const char *format, va_list *arguments)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, *arguments);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed == 0)
			return architect_index_trim(text.data);
		enlargeStringInfo(&text, needed);
	}
}

/*
 * Adds a finding of the rule in hand, to be filled in by it.
 */
IndexFinding *
architect_index_finding(IndexReview *review, IndexSeverity severity, IndexConfidence confidence,
						IndexTable *table, IndexDefinition *index)
{
	IndexFinding *finding = palloc0(sizeof(IndexFinding));

	finding->review = review;
	finding->rule = review->rule;
	finding->severity = severity;
	finding->confidence = confidence;
	finding->table = table;
	finding->index = index;
	(void) pushJsonbValue(&finding->evidence, WJB_BEGIN_OBJECT, NULL);
	review->findings = lappend(review->findings, finding);
	return finding;
}

/*
 * Says why, in one sentence.
 */
void
architect_index_reason(IndexFinding *finding, const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	finding->reason = format_text(format, &arguments);
	va_end(arguments);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

/*
 * Adds a number that the finding was decided on: whole, or with four digits.
 */
void
architect_index_evidence(IndexFinding *finding, const char *name, double value)
{
	char	   *digits = value == rint(value) ? psprintf("%.0f", value) : psprintf("%.4g", value);
	JsonbValue	number = {.type = jbvNumeric};

	number.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	push_text(&finding->evidence, WJB_KEY, name);
	(void) pushJsonbValue(&finding->evidence, WJB_VALUE, &number);
	pfree(digits);
}

/*
 * Adds how many rows the table has, if that is known.
 */
void
architect_index_evidence_rows(IndexFinding *finding)
{
	if (finding->table->rows >= 0)
		architect_index_evidence(finding, "table_rows", finding->table->rows);
}

/*
 * Adds a text; null where there is none.
 */
void
architect_index_evidence_text(IndexFinding *finding, const char *name, const char *value)
{
	JsonbValue	null = {.type = jbvNull};

	push_text(&finding->evidence, WJB_KEY, name);
	if (value == NULL)
		(void) pushJsonbValue(&finding->evidence, WJB_VALUE, &null);
	else
		push_text(&finding->evidence, WJB_VALUE, value);
}

void
architect_index_evidence_time(IndexFinding *finding, const char *name, TimestampTz value)
{
	char		text[MAXDATELEN + 1];

	if (value != 0)
		JsonEncodeDateTime(text, TimestampTzGetDatum(value), TIMESTAMPTZOID, NULL);
	architect_index_evidence_text(finding, name, value == 0 ? NULL : text);
}

/*
 * Adds since when the server has been counting.
 */
void
architect_index_evidence_counts(IndexReview *review, IndexFinding *finding)
{
	architect_index_evidence_time(finding, "stats_since", review->facts->stats_since);
}

/*
 * Notes why the rule in hand cannot decide a case.
 */
void
architect_index_doubt(IndexReview *review, const char *format,...)
{
	va_list		arguments;
	IndexDoubt *doubt;
	char	   *reason;
	ListCell   *cell;

	va_start(arguments, format);
	reason = format_text(format, &arguments);
	va_end(arguments);
	foreach(cell, review->doubts)
	{
		doubt = lfirst(cell);
		if (strcmp(doubt->reason, reason) == 0)
		{
			doubt->cases++;
			pfree(reason);
			return;
		}
	}
	doubt = palloc(sizeof(IndexDoubt));
	doubt->reason = reason;
	doubt->cases = 1;
	review->doubts = lappend(review->doubts, doubt);
}

/*
 * True for a table of less than a megabyte, or that was never looked at: what is wrong
 * with its indexes costs little.
 */
bool
architect_index_is_small(const IndexTable *table)
{
	return (double) table->pages * BLCKSZ < 1024 * 1024;
}

static Oid
find_oid(const IndexDefinition *index)
{
	return index == NULL ? InvalidOid : index->oid;
}

/* Findings about one index, the strongest one first. */
static int
compare_findings(const ListCell *left, const ListCell *right)
{
	const IndexFinding *one = lfirst(left);
	const IndexFinding *other = lfirst(right);

	if (one->index != other->index)
		return find_oid(one->index) < find_oid(other->index) ? -1 : 1;
	if (one->confidence != other->confidence)
		return one->confidence > other->confidence ? -1 : 1;
	if (one->severity != other->severity)
		return one->severity > other->severity ? -1 : 1;
	return one->rule < other->rule ? -1 : one->rule > other->rule;
}

/* The gravest finding first, then the one that saves most; the rest makes the order one. */
static int
compare_gravity(const ListCell *left, const ListCell *right)
{
	const IndexFinding *one = lfirst(left);
	const IndexFinding *other = lfirst(right);
	int			order;

	if (one->severity != other->severity)
		return one->severity > other->severity ? -1 : 1;
	if (one->benefit_bytes != other->benefit_bytes)
		return one->benefit_bytes > other->benefit_bytes ? -1 : 1;
	order = strcmp(one->table->name, other->table->name);
	if (order == 0 && one->table != other->table)
		order = one->table->oid < other->table->oid ? -1 : 1;
	if (order == 0)
		order = strcmp(one->index == NULL ? "" : one->index->name, other->index == NULL ? "" : other->index->name);
	if (order == 0)
		order = one->rule < other->rule ? -1 : one->rule > other->rule;
	return order == 0 ? strcmp(one->reason, other->reason) : order;
}

static void
push_finding(JsonbParseState **state, const IndexFinding *finding)
{
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, WJB_KEY, "rule");
	push_text(state, WJB_VALUE, finding->rule->name);
	push_text(state, WJB_KEY, "reason");
	push_text(state, WJB_VALUE, finding->reason);
	if (finding->statement != NULL)
	{
		push_text(state, WJB_KEY, "statement");
		push_text(state, WJB_VALUE, finding->statement);
	}
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * Returns the findings, the gravest first, with one for each index: the others that are
 * about the index as it is are in its evidence, as "also".  Findings without an index
 * stay as they are.
 */
List *
architect_index_fold(List *findings)
{
	List	   *sorted = list_copy(findings);
	List	   *folded = NIL;
	IndexFinding *strongest = NULL;
	bool		is_open = false;
	ListCell   *cell;

	list_sort(sorted, compare_findings);
	foreach(cell, sorted)
	{
		IndexFinding *finding = lfirst(cell);

		if (finding->index == NULL || strongest == NULL || finding->index != strongest->index)
		{
			if (is_open)
				(void) pushJsonbValue(&strongest->evidence, WJB_END_ARRAY, NULL);
			is_open = false;
			strongest = finding;
			folded = lappend(folded, finding);
			continue;
		}
		if (!is_open)
		{
			push_text(&strongest->evidence, WJB_KEY, "also");
			(void) pushJsonbValue(&strongest->evidence, WJB_BEGIN_ARRAY, NULL);
			is_open = true;
		}
		push_finding(&strongest->evidence, finding);
	}
	if (is_open)
		(void) pushJsonbValue(&strongest->evidence, WJB_END_ARRAY, NULL);
	list_sort(folded, compare_gravity);
	return folded;
}
