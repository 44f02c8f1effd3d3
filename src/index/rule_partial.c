/*
 * rule_partial.c
 *    Indexes most entries of which no query looks for.
 *
 * Three ways to see it: all queries that search the index say of another column the
 * same (deleted_at IS NULL); nearly all of its keys are NULL; nearly all of its keys
 * are one value.  The first two are held against the queries of pg_stat_statements.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "index/candidate.h"
#include "index/cover.h"
#include "index/rules.h"
#include "index/size.h"

#define MIN_NULL_SHARE		0.9
#define MIN_COMMON_SHARE	0.9
#define MAX_COMMON_DISTINCT	100
#define MAX_KEPT_SHARE		0.5
#define MIN_SAVED			(1024.0 * 1024.0)
#define MUCH_SAVED			(64 * MIN_SAVED)

/* A predicate that an index could have. */
typedef struct Choice
{
	char	   *predicate;		/* NULL: none was found */
	int16		attnum;			/* the column that it is about */
	bool		is_null;		/* it is IS NULL */
	double		kept;			/* share of the rows that it is true of */
	List	   *queries;		/* IndexQuery, seen to search the index */
	IndexConfidence confidence;
	char	   *reason;
} Choice;

/* The most common values of a column, as ANALYZE saw them. */
typedef struct CommonValues
{
	AttStatsSlot slot;
	HeapTuple	tuple;
	bool		is_there;
} CommonValues;

static IndexColumn *
column_of(const IndexTable *table, int attnum)
{
	return attnum > 0 && attnum <= table->ncolumns ? &table->columns[attnum - 1] : NULL;
}

/*
 * Reads the most common values.  Only for columns whose statistics the reader may see.
 */
static CommonValues
read_common(const IndexTable *table, int attnum)
{
	CommonValues common = {0};

	common.tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(table->oid), Int16GetDatum(attnum),
								   BoolGetDatum(table->kind == RELKIND_PARTITIONED_TABLE));
	common.is_there = HeapTupleIsValid(common.tuple) &&
		get_attstatsslot(&common.slot, common.tuple, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS) &&
		common.slot.nvalues > 0;
	return common;
}

static void
release_common(CommonValues *common)
{
	free_attstatsslot(&common->slot);
	if (HeapTupleIsValid(common->tuple))
		ReleaseSysCache(common->tuple);
}

static char *
value_text(const IndexColumn *column, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(column->type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

static bool
is_value(const IndexColumn *column, Datum value, const char *text)
{
	bool		is_true;

	if (column->type == BOOLOID)
		return parse_bool(text, &is_true) && is_true == DatumGetBool(value);
	return strcmp(value_text(column, value), text) == 0;
}

/*
 * Returns the share of rows with this value; 1 where it is not known.
 */
static double
find_share(const IndexTable *table, int attnum, const char *value)
{
	IndexColumn *column = column_of(table, attnum);
	CommonValues common;
	double		share = 1;
	double		rest;

	if (!column->has_statistics)
		return share;
	common = read_common(table, attnum);
	if (common.is_there)
	{
		rest = 1 - column->null_share;
		for (int i = 0; i < common.slot.nvalues; i++)
		{
			rest -= common.slot.numbers[i];
			if (is_value(column, common.slot.values[i], value))
				share = common.slot.numbers[i];
		}
		if (share == 1)
			share = Max(rest, 0);
	}
	release_common(&common);
	return share;
}

static bool
is_null_test(const IndexPredicate *predicate)
{
	return predicate->attnum > 0 && strcmp(predicate->operator, "IS NULL") == 0;
}

/*
 * True for a condition that is the same each time: IS NULL, or a constant.
 */
static bool
is_constant(const IndexPredicate *predicate)
{
	return predicate->attnum > 0 && predicate->kind == INDEX_EQUALITY &&
		(is_null_test(predicate) || (predicate->value != NULL && strcmp(predicate->operator, "=") == 0));
}

static bool
is_same_condition(const IndexPredicate *left, const IndexPredicate *right)
{
	return left->attnum == right->attnum && is_constant(right) && strcmp(left->operator, right->operator) == 0 &&
		(is_null_test(left) || strcmp(left->value, right->value) == 0);
}

static char *
condition_text(const IndexTable *table, const IndexPredicate *predicate)
{
	IndexColumn *column = column_of(table, predicate->attnum);
	const char *name = quote_identifier(column->name);
	bool		is_true;

	if (is_null_test(predicate))
		return psprintf("%s IS NULL", name);
	if (column->type == BOOLOID && parse_bool(predicate->value, &is_true))
		return psprintf("%s%s", is_true ? "" : "NOT ", name);
	return psprintf("%s = %s", name, quote_literal_cstr(predicate->value));
}

/*
 * True when one of the predicates of an access is about the first key of an index, or
 * may be, where it is not understood.
 */
static bool
searches(const IndexAccess *access, const IndexDefinition *index)
{
	ListCell   *cell;

	if (index->attnums[0] > 0 && bms_is_member(index->attnums[0], access->unread))
		return true;
	foreach(cell, access->predicates)
	{
		const IndexPredicate *predicate = lfirst(cell);

		if (predicate->kind != INDEX_OTHER && architect_index_key_is(index, 0, predicate))
			return true;
	}
	return false;
}

static bool
sorts_by(const IndexAccess *access, const IndexDefinition *index)
{
	return access->sort != NIL && ((IndexSort *) linitial(access->sort))->attnum == index->attnums[0];
}

/*
 * Returns what searches the index (IndexUse).
 */
static List *
find_searching(const IndexDefinition *index, List *uses)
{
	List	   *searching = NIL;
	ListCell   *cell;

	foreach(cell, uses)
	{
		if (searches(((IndexUse *) lfirst(cell))->access, index))
			searching = lappend(searching, lfirst(cell));
	}
	return searching;
}

static List *
queries_of(List *uses)
{
	List	   *queries = NIL;
	ListCell   *cell;

	foreach(cell, uses)
		queries = list_append_unique_ptr(queries, ((IndexUse *) lfirst(cell))->query);
	return queries;
}

static bool
holds_in(const IndexPredicate *condition, const IndexAccess *access)
{
	ListCell   *cell;

	foreach(cell, access->predicates)
	{
		if (is_same_condition(condition, lfirst(cell)))
			return true;
	}
	return false;
}

/*
 * True when the condition holds in every access that can use the index.
 */
static bool
holds_always(const IndexPredicate *condition, const IndexDefinition *index, List *uses)
{
	ListCell   *cell;

	foreach(cell, uses)
	{
		const IndexAccess *access = ((IndexUse *) lfirst(cell))->access;

		if ((searches(access, index) || sorts_by(access, index)) && !holds_in(condition, access))
			return false;
	}
	return true;
}

/*
 * True when the server itself may search the index, for a foreign key.
 */
static bool
is_of_foreign_key(const IndexDefinition *index)
{
	ListCell   *cell;

	foreach(cell, index->table->foreign_keys)
	{
		const IndexForeignKey *key = lfirst(cell);

		for (int i = 0; i < key->ncolumns; i++)
		{
			if (key->attnums[i] == index->attnums[0])
				return true;
		}
	}
	return false;
}

/*
 * A condition that all queries have in common that search the index.
 */
static Choice
choose_condition(const IndexDefinition *index, List *uses)
{
	IndexTable *table = index->table;
	Choice		choice = {.kept = MAX_KEPT_SHARE, .confidence = INDEX_CONFIDENCE_LIKELY};
	List	   *searching = find_searching(index, uses);
	ListCell   *cell;

	choice.queries = queries_of(searching);
	if (searching == NIL || is_of_foreign_key(index))
		return choice;
	foreach(cell, ((IndexUse *) linitial(searching))->access->predicates)
	{
		const IndexPredicate *condition = lfirst(cell);
		IndexColumn *column = column_of(table, condition->attnum);
		double		kept;

		if (!is_constant(condition) || !column->has_statistics || !holds_always(condition, index, uses))
			continue;
		kept = is_null_test(condition) ? column->null_share : find_share(table, condition->attnum, condition->value);
		if (kept > choice.kept)
			continue;
		choice.kept = kept;
		choice.attnum = condition->attnum;
		choice.is_null = is_null_test(condition);
		choice.predicate = condition_text(table, condition);
		choice.reason = psprintf("Every query seen that searches the index says %s, which is true of %.1f %% of "
								 "the rows.", choice.predicate, 100 * kept);
	}
	return choice;
}

/*
 * NULLs, if they are nearly all there is, and no query seen looks for them or wants all
 * rows in this order.
 */
static Choice
choose_not_null(const IndexDefinition *index, List *uses)
{
	IndexColumn *column = column_of(index->table, index->attnums[0]);
	Choice		choice = {.attnum = index->attnums[0], .confidence = INDEX_CONFIDENCE_HINT};
	ListCell   *cell;

	if (column->null_share < MIN_NULL_SHARE)
		return choice;
	foreach(cell, uses)
	{
		IndexUse   *use = lfirst(cell);
		ListCell   *inner;

		if (bms_is_member(index->attnums[0], use->access->unread))
			return choice;
		foreach(inner, use->access->predicates)
		{
			const IndexPredicate *predicate = lfirst(inner);

			if (predicate->attnum == index->attnums[0] && is_null_test(predicate))
				return choice;
		}
		if (sorts_by(use->access, index) && !searches(use->access, index))
			return choice;
	}
	choice.kept = 1 - column->null_share;
	choice.queries = queries_of(find_searching(index, uses));
	if (choice.queries != NIL)
		choice.confidence = INDEX_CONFIDENCE_LIKELY;
	choice.predicate = psprintf("%s IS NOT NULL", quote_identifier(column->name));
	choice.reason = psprintf("%.1f %% of the keys are NULL, and %s.", 100 * column->null_share, choice.queries != NIL ?
							 "every query seen that searches the index looks for others" :
							 "queries seldom look for these");
	return choice;
}

/*
 * One value, if it is nearly all there is: whoever looks for it reads the table.
 */
static Choice
choose_not_common(const IndexDefinition *index, List *uses)
{
	IndexTable *table = index->table;
	IndexColumn *column = column_of(table, index->attnums[0]);
	Choice		choice = {.attnum = index->attnums[0], .confidence = INDEX_CONFIDENCE_HINT};
	CommonValues common;
	ListCell   *cell;

	if (index->nkeys > 1 || column->distinct <= 1 || column->distinct > MAX_COMMON_DISTINCT || is_of_foreign_key(index))
		return choice;
	foreach(cell, uses)
	{
		if (sorts_by(((IndexUse *) lfirst(cell))->access, index))
			return choice;
	}
	common = read_common(table, index->attnums[0]);
	if (common.is_there && common.slot.numbers[0] >= MIN_COMMON_SHARE)
	{
		const char *value = value_text(column, common.slot.values[0]);
		const char *name = quote_identifier(column->name);

		choice.kept = 1 - common.slot.numbers[0] - column->null_share;
		if (column->type == BOOLOID)
		{
			choice.predicate = psprintf("%s%s", *value == 't' ? "NOT " : "", name);
			value = *value == 't' ? "true" : "false";
		}
		else
		{
			value = quote_literal_cstr(value);
			choice.predicate = psprintf("%s <> %s", name, value);
		}
		choice.reason = psprintf("%.1f %% of the keys are %s, which the table gives as fast: the index can "
								 "do without them if queries name the value they look for as a constant.",
								 100 * common.slot.numbers[0], value);
	}
	release_common(&common);
	return choice;
}

/*
 * Returns the bytes that the index would take with this predicate; 0 where that is not
 * known, and then the rule has a doubt.
 */
static double
kept_bytes(IndexReview *review, const IndexDefinition *index, const Choice *choice)
{
	IndexDefinition made = *index;
	const IndexColumn *column = column_of(index->table, choice->attnum);
	NullTest   *test = makeNode(NullTest);
	const char *problem;
	IndexShape *shape;

	/* The model asks which column it is about, and whether NULLs are in it. */
	test->arg = (Expr *) makeVar(1, choice->attnum, column->type, column->typmod, column->collation, 0);
	test->nulltesttype = choice->is_null ? IS_NULL : IS_NOT_NULL;
	made.predicate = nodeToString(test);
	shape = architect_index_shape(&made, choice->kept * index->table->rows, &problem);
	if (shape != NULL)
		return architect_index_shape_size(shape);
	architect_index_doubt(review, "%s", problem);
	return 0;
}

static void
report(IndexReview *review, IndexDefinition *index, const Choice *choice)
{
	IndexTable *table = index->table;
	double		bytes = (double) index->pages * BLCKSZ;
	double		kept = kept_bytes(review, index, choice);
	double		saved = bytes - kept;
	IndexFinding *finding;

	if (kept == 0 || saved < MIN_SAVED)
		return;
	finding = architect_index_finding(review, saved >= MUCH_SAVED && choice->confidence > INDEX_CONFIDENCE_HINT ?
									  INDEX_WARNING : INDEX_HINT, choice->confidence, table, index);
	finding->columns = architect_index_column_texts(index);
	finding->reason = choice->reason;
	finding->benefit_bytes = rint(saved);
	finding->benefit_writes = rint(architect_index_daily_writes(review->facts, index) * (1 - choice->kept));
	architect_index_evidence(finding, "index_bytes", bytes);
	architect_index_evidence_rows(finding);
	architect_index_evidence(finding, "kept_share", choice->kept);
	architect_index_evidence(finding, "scans", index->counts.index_scans);
	architect_index_evidence_time(finding, "analyzed", table->counts.last_analyze);
	if (choice->queries != NIL)
		architect_index_evidence_queries(finding, choice->queries);
	architect_index_evidence_counts(review, finding);
	architect_index_propose_replace(finding, index, NIL,
									architect_index_extend_body(index, NIL, psprintf("(%s)", choice->predicate)));
}

static Choice
choose(const IndexDefinition *index, List *uses)
{
	const IndexColumn *column = column_of(index->table, index->attnums[0]);
	Choice		choice = choose_condition(index, uses);

	if (choice.predicate == NULL && column != NULL && column->has_statistics)
		choice = choose_not_null(index, uses);
	if (choice.predicate == NULL && column != NULL && column->has_statistics)
		choice = choose_not_common(index, uses);
	return choice;
}

/*
 * True when queries look for few of the entries, so that the index should have a
 * predicate before anything else.
 */
bool
architect_index_lacks_predicate(const IndexDefinition *index, List *uses)
{
	return architect_index_stale(index->table) == NULL && choose(index, uses).predicate != NULL;
}

static void
look_at(IndexReview *review, IndexDefinition *index, List *uses)
{
	const IndexColumn *column = column_of(index->table, index->attnums[0]);
	const char *problem;
	Choice		choice;

	if ((double) index->pages * BLCKSZ < MIN_SAVED || index->predicate != NULL ||
		!architect_index_is_replaceable(index) || architect_index_is_unused(review, index))
		return;
	problem = architect_index_stale(index->table);
	if (problem != NULL)
	{
		architect_index_doubt(review, "%s", problem);
		return;
	}
	choice = choose(index, uses);
	if (choice.predicate != NULL)
		report(review, index, &choice);
	else if (column != NULL && !column->has_statistics)
		architect_index_doubt(review, "a column has no statistics, or they may not be read");
}

void
architect_index_rule_partial(IndexReview *review)
{
	List	   *uses = architect_index_uses(review);
	ListCell   *cell;

	foreach(cell, review->facts->tables)
	{
		IndexTable *table = lfirst(cell);
		List	   *uses_of_table;
		ListCell   *inner;

		if (!table->reported || table->of_extension || table->pages < INDEX_SMALL_PAGES)
			continue;
		uses_of_table = architect_index_uses_of(uses, table);
		foreach(inner, table->indexes)
			look_at(review, lfirst(inner), uses_of_table);
	}
}
