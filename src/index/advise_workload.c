/*
 * advise_workload.c
 *    The statements that advice is for: a list that is given, or what the server saw.
 *
 * What the server saw is what pg_stat_statements has of this database, and what was
 * captured.  The texts of the first have lost their values: captured examples of the same
 * query stand for it, and share its calls and its time.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "index/advise.h"
#include "index/capture.h"

/* As many are looked at, of those that the server saw. */
#define MOST_STATEMENTS 1000
#define LEFT_OUT "%d statements that take less time are left out: %d are looked at"

/* Statements of pg_stat_statements as they are read. */
typedef struct Reading
{
	List	   *statements;
	MemoryContext context;		/* where they stay */
	bool		is_installed;
} Reading;

static void
check_lengths(int nqueries, int nweights)
{
	if (nqueries != nweights)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are %d queries and %d weights", nqueries, nweights),
				 errhint("Give each query a weight, or none of them.")));
}

static double
take_weight(Datum value, bool isnull, int number)
{
	double		weight;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("weights[%d] is NULL", number)));
	weight = DatumGetFloat8(value);
	if (!isfinite(weight) || weight < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weights[%d] is %g", number, weight),
				 errdetail("A weight is how often the query is run, relative to the others.")));
	return weight;
}

/*
 * Returns the statements that are given, each as often as its weight says.
 */
static List *
take_list(ArrayType *queries, ArrayType *weights)
{
	List	   *statements = NIL;
	Datum	   *texts;
	Datum	   *values = NULL;
	bool	   *nulls;
	bool	   *value_nulls = NULL;
	int			count;
	int			nweights;

	deconstruct_array(queries, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &count);
	if (weights != NULL)
	{
		deconstruct_array(weights, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &values, &value_nulls, &nweights);
		check_lengths(count, nweights);
	}
	for (int i = 0; i < count; i++)
	{
		AdviseStatement *statement = palloc0(sizeof(AdviseStatement));

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("queries[%d] is NULL", i + 1)));
		statement->text = TextDatumGetCString(texts[i]);
		statement->role = GetUserId();
		statement->source = "list";
		statement->calls = values == NULL ? 1 : take_weight(values[i], value_nulls[i], i + 1);
		statements = lappend(statements, statement);
	}
	return statements;
}

/*
 * Returns the query that reads pg_stat_statements, which is in this schema.  Sessions of
 * the role begin with the search_path that is set for it.
 */
static const char *
compose_query(const char *schema)
{
	return psprintf("WITH entry AS MATERIALIZED (SELECT * FROM %s.pg_stat_statements WHERE dbid = %u), "
					"statement AS (SELECT queryid, min(query) AS query, sum(calls) AS calls, "
					"sum(total_exec_time) AS milliseconds, "
					"(array_agg(userid ORDER BY total_exec_time DESC, userid))[1] AS role, "
					"row_number() OVER (ORDER BY sum(total_exec_time) DESC, queryid) AS position "
					"FROM entry WHERE query IS NOT NULL AND queryid IS NOT NULL GROUP BY queryid) "
					"SELECT queryid, query, calls::float8, milliseconds::float8, role, "
					"(SELECT substr(setting, 13) FROM pg_db_role_setting, unnest(setconfig) AS setting "
					"WHERE setdatabase IN (0, %u) AND setrole IN (0, role) AND setting ^@ 'search_path=' "
					"ORDER BY setrole = 0, setdatabase = 0 LIMIT 1), NULL "
					"FROM statement WHERE position <= %d "
					"UNION ALL "
					"SELECT NULL, '', sum(calls)::float8, sum(milliseconds)::float8, NULL, NULL, "
					"format('%%s statements that take less time are left out: %d are looked at', count(*)) "
					"FROM statement WHERE position > %d HAVING count(*) > 0 "
					"UNION ALL "
					"SELECT NULL, coalesce(query, ''), sum(calls)::float8, sum(total_exec_time)::float8, NULL, NULL, "
					"format(CASE WHEN query IS NULL THEN 'pg_stat_statements has lost %%s texts' "
					"ELSE '%%s statements of others may be read by members of pg_read_all_stats only' END, count(*)) "
					"FROM entry WHERE queryid IS NULL OR query IS NULL GROUP BY query "
					"UNION ALL "
					"SELECT NULL, '', 0, 0, NULL, NULL, format('pg_stat_statements has dropped statements %%s times: "
					"pg_stat_statements.max is too small for all', dealloc) "
					"FROM %s.pg_stat_statements_info WHERE dealloc > 0",
					schema, MyDatabaseId, MyDatabaseId, MOST_STATEMENTS, MOST_STATEMENTS, MOST_STATEMENTS, schema);
}

static char *
get_text(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static Datum
get_number(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? (Datum) 0 : value;
}

static void
keep_statement(Reading *reading, int row)
{
	AdviseStatement *statement = palloc0(sizeof(AdviseStatement));

	statement->query_id = DatumGetInt64(get_number(row, 1));
	statement->text = get_text(row, 2);
	statement->calls = DatumGetFloat8(get_number(row, 3));
	statement->milliseconds = DatumGetFloat8(get_number(row, 4));
	statement->role = DatumGetObjectId(get_number(row, 5));
	statement->source = "pg_stat_statements";
	statement->search_path = get_text(row, 6);
	statement->problem = get_text(row, 7);
	reading->statements = lappend(reading->statements, statement);
}

/*
 * Reads what pg_stat_statements has of this database, as far as the reader may see it.
 */
static void
read_statements(void *argument)
{
	Reading    *reading = argument;
	MemoryContext before;
	int			level = NewGUCNestLevel();

	architect_pin_path();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_stat_statements'",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the extensions");
	reading->is_installed = SPI_processed > 0;
	if (reading->is_installed)
	{
		const char *schema = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (SPI_execute(compose_query(schema), true, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read pg_stat_statements");
		before = MemoryContextSwitchTo(reading->context);
		for (uint64 i = 0; i < SPI_processed; i++)
			keep_statement(reading, i);
		MemoryContextSwitchTo(before);
	}
	SPI_finish();
	AtEOXact_GUC(false, level);
}

/* Captured examples of a query. */
typedef struct Examples
{
	int64		query_id;
	List	   *statements;		/* AdviseStatement, without a problem */
	double		calls;			/* of all */
	bool		is_counted;		/* by pg_stat_statements */
} Examples;

static HTAB *
collect_examples(const List *captured)
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(Examples), .hcxt = CurrentMemoryContext};
	HTAB	   *table = hash_create("captured queries", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ListCell   *cell;

	foreach(cell, captured)
	{
		AdviseStatement *statement = lfirst(cell);
		bool		found;
		Examples   *examples = hash_search(table, &statement->query_id, HASH_ENTER, &found);

		statement->source = "captured";
		if (!found)
			*examples = (Examples) {.query_id = statement->query_id};
		if (statement->problem != NULL)
			continue;
		examples->statements = lappend(examples->statements, statement);
		examples->calls += statement->calls;
	}
	return table;
}

/*
 * Has the examples share what was counted of their query.
 */
static void
share_counts(const Examples *examples, const AdviseStatement *counted)
{
	ListCell   *cell;

	foreach(cell, examples->statements)
	{
		AdviseStatement *statement = lfirst(cell);
		double		share = examples->calls > 0 ? statement->calls / examples->calls :
			1.0 / list_length(examples->statements);

		statement->calls = counted->calls * share;
		statement->milliseconds = counted->milliseconds * share;
	}
}

/*
 * Returns the statements of both, each query once.
 */
static List *
merge_captured(const List *counted, const List *captured)
{
	HTAB	   *table = collect_examples(captured);
	List	   *statements = NIL;
	ListCell   *cell;

	foreach(cell, counted)
	{
		AdviseStatement *statement = lfirst(cell);
		Examples   *examples = statement->problem != NULL ? NULL :
			hash_search(table, &statement->query_id, HASH_FIND, NULL);

		if (examples != NULL)
		{
			examples->is_counted = true;
			share_counts(examples, statement);
		}
		if (examples == NULL || examples->statements == NIL)
			statements = lappend(statements, statement);
	}
	foreach(cell, captured)
	{
		AdviseStatement *statement = lfirst(cell);
		const Examples *examples = hash_search(table, &statement->query_id, HASH_FIND, NULL);

		if (statement->problem == NULL || !examples->is_counted)
			statements = lappend(statements, statement);
	}
	hash_destroy(table);
	return statements;
}

static int
compare_time(const ListCell *left, const ListCell *right)
{
	const AdviseStatement *one = lfirst(left);
	const AdviseStatement *other = lfirst(right);

	if ((one->problem == NULL) != (other->problem == NULL))
		return one->problem == NULL ? -1 : 1;
	if (one->milliseconds != other->milliseconds)
		return one->milliseconds > other->milliseconds ? -1 : 1;
	if (one->calls != other->calls)
		return one->calls > other->calls ? -1 : 1;
	return one->number - other->number;
}

static void
number_statements(List *statements)
{
	ListCell   *cell;

	foreach(cell, statements)
		((AdviseStatement *) lfirst(cell))->number = foreach_current_index(cell) + 1;
}

/*
 * Sorts statements by their time, and makes one of those that are too many.
 */
static List *
choose_most(List *statements)
{
	AdviseStatement *rest = palloc0(sizeof(AdviseStatement));
	int			nchosen = 0;
	int			nleft = 0;
	ListCell   *cell;

	number_statements(statements);
	list_sort(statements, compare_time);
	foreach(cell, statements)
	{
		AdviseStatement *statement = lfirst(cell);

		if (statement->problem != NULL || ++nchosen <= MOST_STATEMENTS)
			continue;
		nleft++;
		rest->calls += statement->calls;
		rest->milliseconds += statement->milliseconds;
		statements = foreach_delete_current(statements, cell);
	}
	if (nleft > 0)
	{
		rest->text = pstrdup("");
		rest->source = "captured";
		rest->problem = psprintf(LEFT_OUT, nleft, MOST_STATEMENTS);
		statements = lappend(statements, rest);
	}
	number_statements(statements);
	return statements;
}

/*
 * Returns the statements that the server saw, those with the most time first.  The problem
 * says why pg_stat_statements was not read; it is NULL where it was.
 */
List *
architect_advise_seen(char **problem)
{
	Reading		reading = {.context = CurrentMemoryContext};
	ErrorData  *error = architect_attempt(read_statements, &reading);

	*problem = NULL;
	if (error != NULL)
		*problem = psprintf("pg_stat_statements cannot be read: %s", error->message);
	else if (!reading.is_installed)
		*problem = pstrdup("pg_stat_statements is not installed in this database");
	return choose_most(merge_captured(error == NULL ? reading.statements : NIL, architect_capture_read()));
}

/*
 * Returns the statements of a list, or NULL: those that the server saw.  Raises 22023 and
 * 22004 for what is wrong with the list, and 55000 where nothing was seen.
 */
List *
architect_advise_statements(ArrayType *queries, ArrayType *weights)
{
	List	   *statements;
	char	   *problem;

	if (queries == NULL && weights != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are weights but no queries")));
	if (queries != NULL)
	{
		statements = take_list(queries, weights);
		number_statements(statements);
		return statements;
	}
	statements = architect_advise_seen(&problem);
	if (statements == NIL && problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no workload to advise on"),
				 errdetail("No statements were captured, and %s.", problem),
				 errhint("Pass the queries, or add pg_stat_statements to shared_preload_libraries and run "
						 "CREATE EXTENSION pg_stat_statements.")));
	return statements;
}
