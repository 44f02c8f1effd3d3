/*
 * index.c
 *    Runs the rules, and gives what they find as rows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "core/core.h"
#include "index/index.h"
#include "index/rules.h"

PG_FUNCTION_INFO_V1(architect_index_find);
PG_FUNCTION_INFO_V1(architect_index_status);

static const IndexRule rules[] = {
	{"missing_foreign_key", architect_index_rule_foreign_key},
	{"unused", architect_index_rule_unused},
	{"duplicate", architect_index_rule_duplicate},
	{"redundant", architect_index_rule_redundant},
	{"invalid", architect_index_rule_invalid},
	{"bloat", architect_index_rule_bloat},
	{"hot_blocking", architect_index_rule_hot_blocking},
	{"missing", architect_index_rule_missing},
	{"brin_candidate", architect_index_rule_brin},
	{"partial_candidate", architect_index_rule_partial},
	{"covering_candidate", architect_index_rule_covering},
	{"gin_candidate", architect_index_rule_gin},
	{"hash_candidate", architect_index_rule_hash},
	{"expression_candidate", architect_index_rule_expression},
	{"unlogged_or_wrong_type", architect_index_rule_type},
	{"advised", architect_index_rule_advised},
};

/* What a rule came to. */
typedef struct Outcome
{
	int			findings;
	List	   *doubts;			/* IndexDoubt */
	double		milliseconds;
} Outcome;

/*
 * Returns the rule of this name; raises 22023 where there is none.
 */
static const IndexRule *
find_rule(const char *name)
{
	for (int i = 0; i < lengthof(rules); i++)
	{
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no rule \"%s\"", name),
			 errhint("See " ARCHITECT_SCHEMA ".index_advice_status.")));
}

/*
 * Leaves out, from this one on, what could not be written: whoever asks must not wait
 * for those who change a table.
 */
static void
leave_out_locked(IndexReview *review, int first)
{
	for (int i = list_length(review->findings) - 1; i >= first; i--)
	{
		IndexFinding *finding = list_nth(review->findings, i);

		if (!finding->table->is_locked)
			continue;
		review->findings = list_delete_nth_cell(review->findings, i);
		architect_index_doubt(review, "a table is locked by others");
	}
}

static Outcome
run_rule(IndexReview *review, const IndexRule *rule)
{
	int			before = list_length(review->findings);
	Outcome		outcome;
	instr_time	begin;
	instr_time	end;

	INSTR_TIME_SET_CURRENT(begin);
	review->rule = rule;
	review->doubts = NIL;
	rule->find(review);
	leave_out_locked(review, before);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);

	outcome.findings = list_length(review->findings) - before;
	outcome.doubts = review->doubts;
	outcome.milliseconds = INSTR_TIME_GET_MILLISEC(end);
	return outcome;
}

/*
 * Returns the rules of these names, all where there is no array.
 */
static List *
choose_rules(ArrayType *names)
{
	List	   *chosen = NIL;
	Datum	   *elements;
	int			length;

	if (names == NULL)
	{
		for (int i = 0; i < lengthof(rules); i++)
			chosen = lappend(chosen, unconstify(IndexRule *, &rules[i]));
		return chosen;
	}
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &length);
	for (int i = 0; i < length; i++)
		chosen = list_append_unique_ptr(chosen, unconstify(IndexRule *, find_rule(TextDatumGetCString(elements[i]))));
	return chosen;
}

static Datum
text_array(List *texts)
{
	Datum	   *elements = palloc(Max(list_length(texts), 1) * sizeof(Datum));
	ListCell   *cell;

	foreach(cell, texts)
		elements[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(construct_array(elements, list_length(texts), TEXTOID, -1, false, TYPALIGN_INT));
}

static const char *
severity_name(IndexSeverity severity)
{
	static const char *const names[] = {
		[INDEX_HINT] = "hint",
		[INDEX_WARNING] = "warning",
		[INDEX_CRITICAL] = "critical",
	};

	return names[severity];
}

static const char *
confidence_name(IndexConfidence confidence)
{
	static const char *const names[] = {
		[INDEX_CONFIDENCE_HINT] = "hint",
		[INDEX_CONFIDENCE_LIKELY] = "likely",
		[INDEX_CONFIDENCE_PROVEN] = "proven",
	};

	return names[confidence];
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static void
put_finding(ReturnSetInfo *result, IndexFinding *finding)
{
	Datum		values[13];
	bool		nulls[13] = {false};

	values[0] = CStringGetTextDatum(finding->rule->name);
	values[1] = CStringGetTextDatum(severity_name(finding->severity));
	values[2] = CStringGetTextDatum(confidence_name(finding->confidence));
	values[3] = ObjectIdGetDatum(finding->table->oid);
	values[4] = ObjectIdGetDatum(finding->index == NULL ? InvalidOid : finding->index->oid);
	nulls[4] = finding->index == NULL;
	values[5] = text_array(finding->columns);
	set_text(&values[6], &nulls[6], finding->reason);
	values[7] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&finding->evidence, WJB_END_OBJECT, NULL)));
	values[8] = Int64GetDatum((int64) finding->benefit_bytes);
	nulls[8] = finding->benefit_bytes <= 0;
	values[9] = Float8GetDatum(finding->benefit_writes);
	nulls[9] = finding->benefit_writes <= 0;
	set_text(&values[10], &nulls[10], finding->statement);
	set_text(&values[11], &nulls[11], finding->undo);
	set_text(&values[12], &nulls[12], finding->lock);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static IndexReview *
begin_review(void)
{
	IndexReview *review = palloc0(sizeof(IndexReview));

	review->facts = architect_index_read_facts();
	return review;
}

/*
 * architect.index_find(rules text[]) → one row a finding
 */
Datum
architect_index_find(PG_FUNCTION_ARGS)
{
	List	   *chosen = choose_rules(PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0));
	IndexReview *review;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	review = begin_review();
	foreach(cell, chosen)
		(void) run_rule(review, lfirst(cell));
	foreach(cell, architect_index_fold(review->findings))
		put_finding((ReturnSetInfo *) fcinfo->resultinfo, lfirst(cell));
	return (Datum) 0;
}

/* The most frequent one first. */
static int
compare_doubts(const ListCell *left, const ListCell *right)
{
	const IndexDoubt *one = lfirst(left);
	const IndexDoubt *other = lfirst(right);

	if (one->cases != other->cases)
		return one->cases > other->cases ? -1 : 1;
	return strcmp(one->reason, other->reason);
}

static void
put_outcome(ReturnSetInfo *result, const IndexRule *rule, const Outcome *outcome)
{
	int64		undecided = 0;
	StringInfoData reasons;
	Datum		values[5];
	bool		nulls[5] = {false};
	ListCell   *cell;

	initStringInfo(&reasons);
	list_sort(outcome->doubts, compare_doubts);
	foreach(cell, outcome->doubts)
	{
		IndexDoubt *doubt = lfirst(cell);

		undecided += doubt->cases;
		appendStringInfo(&reasons, "%s%s (" INT64_FORMAT ")", reasons.len > 0 ? "; " : "", doubt->reason, doubt->cases);
	}
	values[0] = CStringGetTextDatum(rule->name);
	values[1] = Int64GetDatum(outcome->findings);
	values[2] = Int64GetDatum(undecided);
	set_text(&values[3], &nulls[3], reasons.len > 0 ? reasons.data : NULL);
	values[4] = Float8GetDatum(outcome->milliseconds);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * architect._index_status() → one row a rule
 */
Datum
architect_index_status(PG_FUNCTION_ARGS)
{
	IndexReview *review;

	InitMaterializedSRF(fcinfo, 0);
	review = begin_review();
	for (int i = 0; i < lengthof(rules); i++)
	{
		Outcome		outcome = run_rule(review, &rules[i]);

		put_outcome((ReturnSetInfo *) fcinfo->resultinfo, &rules[i], &outcome);
	}
	return (Datum) 0;
}
