/*
 * workload.c
 *    Reads the queries that pg_stat_statements has, those with the most time.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "index/advise.h"
#include "index/repair.h"
#include "index/workload_text.h"

#define MOST_QUERIES 1000

/* As many queries are in the evidence, with as many bytes of each. */
#define MOST_SHOWN 5
#define MOST_BYTES 200

/* A text is parsed again after each repair: as many bytes are parsed at most. */
#define MOST_PARSED (4 * 1024 * 1024)

/* Queries as they are read. */
typedef struct Reading
{
	IndexWorkload *workload;
	MemoryContext context;		/* where they stay */
} Reading;

static Datum
get_value(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static double
get_number(int row, int column)
{
	bool		isnull;
	Datum		value = get_value(row, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

static void
keep_query(Reading *reading, int row)
{
	IndexQuery *query = palloc0(sizeof(IndexQuery));
	bool		isnull;
	Datum		since;

	query->id = DatumGetInt64(get_value(row, 1, &isnull));
	query->text = TextDatumGetCString(get_value(row, 2, &isnull));
	query->calls = get_number(row, 3);
	query->milliseconds = get_number(row, 4);
	query->rows = get_number(row, 5);
	query->blocks = get_number(row, 9);
	reading->workload->queries = lappend(reading->workload->queries, query);
	query->role = DatumGetObjectId(get_value(row, 6, &isnull));
	reading->workload->nunread = (int64) get_number(row, 7);
	query->share = get_number(row, 10);
	since = get_value(row, 8, &isnull);
	reading->workload->since = isnull ? 0 : DatumGetTimestampTz(since);
}

static const char *
compose_query(const char *schema)
{
	return psprintf("WITH entry AS MATERIALIZED (SELECT * FROM %s.pg_stat_statements WHERE dbid = %u) "
					"SELECT queryid, pg_catalog.min(query), pg_catalog.sum(calls)::float8, "
					"pg_catalog.sum(total_exec_time)::float8, pg_catalog.sum(rows)::float8, pg_catalog.min(userid), "
					"(SELECT pg_catalog.count(*)::float8 FROM entry WHERE queryid IS NULL), "
					"(SELECT stats_reset FROM %s.pg_stat_statements_info), "
					"pg_catalog.sum(shared_blks_hit + shared_blks_read)::float8, "
					"pg_catalog.sum(total_exec_time)::float8 / "
					"nullif((SELECT pg_catalog.sum(total_exec_time) FROM entry), 0) "
					"FROM entry WHERE queryid IS NOT NULL AND query IS NOT NULL "
					"GROUP BY queryid ORDER BY 4 DESC LIMIT %d", schema, MyDatabaseId, schema, MOST_QUERIES);
}

/*
 * Reads texts and counters, all that the reader may see.
 */
static void
read_queries(void *argument)
{
	Reading    *reading = argument;
	MemoryContext before;
	char	   *schema;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute("SELECT extnamespace::regnamespace FROM pg_catalog.pg_extension "
					"WHERE extname = 'pg_stat_statements'", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the extensions");
	if (SPI_processed == 0)
	{
		reading->workload->problem = "pg_stat_statements is not installed in this database";
		SPI_finish();
		return;
	}
	schema = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (SPI_execute(compose_query(schema), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_stat_statements");
	before = MemoryContextSwitchTo(reading->context);
	for (uint64 i = 0; i < SPI_processed; i++)
		keep_query(reading, i);
	MemoryContextSwitchTo(before);
	SPI_finish();
}

/* A text that is being read. */
typedef struct Text
{
	IndexNames *names;
	IndexQuery *query;
	const char *text;			/* repaired */
	MemoryContext scratch;
} Text;

static void
read_text(void *argument)
{
	Text	   *text = argument;
	MemoryContext context = MemoryContextSwitchTo(text->scratch);
	List	   *statements = raw_parser(text->text, RAW_PARSE_DEFAULT);
	ListCell   *cell;

	MemoryContextSwitchTo(context);
	foreach(cell, statements)
		architect_index_read_statement(text->names, text->query, lfirst_node(RawStmt, cell)->stmt);
}

/*
 * Reads the text of a query, or notes the problem.
 */
static void
read_query(IndexNames *names, IndexQuery *query, MemoryContext scratch)
{
	Text		text = {.names = names, .query = query, .scratch = scratch};
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *error;
	size_t		parsed = 0;

	text.text = query->text;
	while ((error = architect_attempt(read_text, &text)) != NULL)
	{
		query->accesses = NIL;
		parsed += strlen(text.text);
		(void) MemoryContextSwitchTo(scratch);
		text.text = parsed < MOST_PARSED ? architect_index_repair(text.text, error) : NULL;
		(void) MemoryContextSwitchTo(caller);
		if (text.text == NULL)
		{
			query->problem = error->message;
			return;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Reads the texts, and leaves out what says nothing of a table.
 */
static void
read_texts(IndexReview *review, IndexWorkload *workload)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "texts of queries", ALLOCSET_DEFAULT_SIZES);
	const char *path = GetConfigOptionResetString("search_path");
	IndexNames	names = {.facts = review->facts};
	List	   *queries = NIL;
	ListCell   *cell;
	ListCell   *inner;

	path = pstrdup(path == NULL ? "" : path);
	foreach(cell, workload->queries)
	{
		IndexQuery *query = lfirst(cell);

		names.role = query->role;
		names.path = query->path != NULL ? query->path : path;
		if (query->problem == NULL)
			read_query(&names, query, scratch);
		workload->nunread += query->problem != NULL;
		foreach(inner, query->accesses)
			architect_index_widen(lfirst(inner));
		if (query->problem == NULL && query->accesses == NIL)
			query->problem = "it has no table that indexes can be advised for";
		if (query->problem == NULL)
			queries = lappend(queries, query);
		else
			workload->left_out = lappend(workload->left_out, query);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	workload->queries = queries;
}

/*
 * Returns the workload, which is read when it is first asked for.
 */
IndexWorkload *
architect_index_workload(IndexReview *review)
{
	Reading		reading = {.context = CurrentMemoryContext};
	ErrorData  *error;

	if (review->workload != NULL)
		return review->workload;
	review->workload = reading.workload = palloc0(sizeof(IndexWorkload));
	error = architect_attempt(read_queries, &reading);
	if (error != NULL)
		reading.workload->problem = psprintf("pg_stat_statements cannot be read: %s", error->message);
	else if (reading.workload->problem == NULL && reading.workload->queries == NIL)
		reading.workload->problem = "pg_stat_statements has no query of this database that may be read";
	if (reading.workload->problem != NULL)
		reading.workload->queries = NIL;
	read_texts(review, review->workload);
	return review->workload;
}

/*
 * Returns the workload that consists of these texts, each called once.
 */
IndexWorkload *
architect_index_workload_of(IndexReview *review, ArrayType *texts)
{
	IndexWorkload *workload = palloc0(sizeof(IndexWorkload));
	Datum	   *elements;
	bool	   *nulls;
	int			length;

	deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &length);
	for (int i = 0; i < length; i++)
	{
		IndexQuery *query = palloc0(sizeof(IndexQuery));

		if (nulls[i])
			continue;
		query->id = query->number = i + 1;
		query->source = "list";
		query->text = TextDatumGetCString(elements[i]);
		query->calls = 1;
		query->role = GetUserId();
		workload->queries = lappend(workload->queries, query);
	}
	read_texts(review, workload);
	return workload;
}

/*
 * Returns the workload that advice is for where no texts are given.
 */
IndexWorkload *
architect_index_workload_seen(IndexReview *review)
{
	IndexWorkload *workload = palloc0(sizeof(IndexWorkload));
	char	   *problem;
	ListCell   *cell;

	foreach(cell, architect_advise_seen(&problem))
	{
		const AdviseStatement *statement = lfirst(cell);
		IndexQuery *query = palloc0(sizeof(IndexQuery));

		query->number = statement->number;
		query->id = statement->query_id;
		query->source = statement->source;
		query->text = statement->text;
		query->role = statement->role;
		query->path = statement->search_path;
		query->calls = statement->calls;
		query->milliseconds = statement->milliseconds;
		query->problem = statement->problem;
		workload->queries = lappend(workload->queries, query);
	}
	workload->problem = problem;
	read_texts(review, workload);
	return workload;
}

static void
push_query(IndexFinding *finding, const IndexQuery *query)
{
	int			length = strlen(query->text);
	int			shown = pg_mbcliplen(query->text, length, MOST_BYTES);

	(void) pushJsonbValue(&finding->evidence, WJB_BEGIN_OBJECT, NULL);
	architect_index_evidence_text(finding, "query_id", psprintf(INT64_FORMAT, query->id));
	architect_index_evidence(finding, "calls", query->calls);
	architect_index_evidence(finding, "milliseconds", query->milliseconds);
	architect_index_evidence(finding, "time_share", query->share);
	architect_index_evidence_text(finding, "text", psprintf("%.*s%s", shown, query->text, shown < length ? "..." : ""));
	(void) pushJsonbValue(&finding->evidence, WJB_END_OBJECT, NULL);
}

/*
 * Adds the queries that a finding was decided on, those with the most time.
 */
void
architect_index_evidence_queries(IndexFinding *finding, const List *queries)
{
	JsonbValue	key = {.type = jbvString, .val.string = {.val = "queries", .len = strlen("queries")}};
	ListCell   *cell;

	(void) pushJsonbValue(&finding->evidence, WJB_KEY, &key);
	(void) pushJsonbValue(&finding->evidence, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, queries)
	{
		if (foreach_current_index(cell) < MOST_SHOWN)
			push_query(finding, lfirst(cell));
	}
	(void) pushJsonbValue(&finding->evidence, WJB_END_ARRAY, NULL);
	architect_index_evidence(finding, "query_count", list_length(queries));
}

/*
 * Returns how many rows of the referenced table were updated by queries that set columns
 * of the key.
 */
double
architect_index_count_key_updates(IndexReview *review, const IndexForeignKey *key)
{
	Bitmapset  *columns = NULL;
	double		rows = 0;
	ListCell   *cell;

	for (int i = 0; i < key->ncolumns; i++)
		columns = bms_add_member(columns, key->referenced_attnums[i]);
	foreach(cell, architect_index_workload(review)->queries)
	{
		const IndexQuery *query = lfirst(cell);
		ListCell   *inner;

		foreach(inner, query->accesses)
		{
			const IndexAccess *access = lfirst(inner);

			if (access->table == key->referenced && bms_overlap(access->assigned, columns))
				rows += query->rows;
		}
	}
	return rows;
}
