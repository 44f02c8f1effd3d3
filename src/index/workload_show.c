/*
 * workload_show.c
 *    Shows what was understood of the queries.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "core/core.h"
#include "index/workload.h"

PG_FUNCTION_INFO_V1(architect_index_workload_show);

static Datum
text_array(const List *texts)
{
	Datum	   *elements = palloc(Max(list_length(texts), 1) * sizeof(Datum));
	ListCell   *cell;

	foreach(cell, texts)
		elements[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(construct_array(elements, list_length(texts), TEXTOID, -1, false, TYPALIGN_INT));
}

static List *
predicate_texts(const IndexAccess *access)
{
	List	   *texts = NIL;
	ListCell   *cell;

	foreach(cell, access->predicates)
	{
		const IndexPredicate *predicate = lfirst(cell);
		const char *value = predicate->is_join ? " another table's" : "";

		if (predicate->value != NULL)
			value = psprintf(" %s", quote_literal_cstr(predicate->value));
		texts = lappend(texts, psprintf("%s %s%s", predicate->attnum == 0 ? predicate->expression :
										access->table->columns[predicate->attnum - 1].name,
										predicate->operator, value));
	}
	return texts;
}

static List *
sort_texts(const IndexAccess *access)
{
	List	   *texts = NIL;
	ListCell   *cell;

	foreach(cell, access->sort)
	{
		const IndexSort *sort = lfirst(cell);

		texts = lappend(texts, psprintf("%s%s%s", access->table->columns[sort->attnum - 1].name,
										sort->is_descending ? " DESC" : "",
										sort->nulls_first == sort->is_descending ? "" :
										sort->nulls_first ? " NULLS FIRST" : " NULLS LAST"));
	}
	return texts;
}

static List *
column_texts(const IndexAccess *access, const Bitmapset *columns)
{
	List	   *texts = NIL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		texts = lappend(texts, access->table->columns[attnum - 1].name);
	return texts;
}

static void
put_query(const IndexQuery *query, Datum *values, bool *nulls)
{
	values[0] = Int64GetDatum(query->id);
	nulls[0] = query->id == 0;
	values[1] = Float8GetDatum(query->calls);
	values[2] = Float8GetDatum(query->milliseconds);
	values[9] = Int32GetDatum(query->number);
	values[10] = CStringGetTextDatum(query->source);
	nulls[11] = query->problem == NULL;
	values[11] = nulls[11] ? (Datum) 0 : CStringGetTextDatum(query->problem);
}

static void
put_access(ReturnSetInfo *result, const IndexQuery *query, const IndexAccess *access)
{
	Datum		values[12];
	bool		nulls[12] = {false};

	put_query(query, values, nulls);
	values[3] = ObjectIdGetDatum(access->table->oid);
	values[4] = text_array(predicate_texts(access));
	values[5] = text_array(column_texts(access, access->unread));
	values[6] = text_array(sort_texts(access));
	values[7] = text_array(column_texts(access, access->columns));
	nulls[7] = access->columns == NULL;
	values[8] = text_array(column_texts(access, access->assigned));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * What is left out has no table.
 */
static void
put_left_out(ReturnSetInfo *result, const IndexQuery *query)
{
	Datum		values[12] = {0};
	bool		nulls[12] = {false};

	memset(nulls + 3, true, 6 * sizeof(bool));
	put_query(query, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * What there is no workload for is a row, too.
 */
static void
put_problem(ReturnSetInfo *result, const char *problem)
{
	Datum		values[12] = {0};
	bool		nulls[12];

	memset(nulls, true, sizeof(nulls));
	nulls[11] = false;
	values[11] = CStringGetTextDatum(problem);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * One row a query and table, of these texts or of what the server saw; then what was left
 * out.
 */
Datum
architect_index_workload_show(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	IndexReview review = {0};
	IndexWorkload *workload;
	ListCell   *cell;
	ListCell   *inner;

	InitMaterializedSRF(fcinfo, 0);
	review.facts = architect_index_read_facts();
	workload = PG_ARGISNULL(0) ? architect_index_workload_seen(&review) :
		architect_index_workload_of(&review, PG_GETARG_ARRAYTYPE_P(0));
	foreach(cell, workload->queries)
	{
		IndexQuery *query = lfirst(cell);

		foreach(inner, query->accesses)
			put_access(result, query, lfirst(inner));
	}
	foreach(cell, workload->left_out)
		put_left_out(result, lfirst(cell));
	if (workload->problem != NULL)
		put_problem(result, workload->problem);
	return (Datum) 0;
}
