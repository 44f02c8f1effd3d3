/*
 * capture.c
 *    Looks at some of the statements that clients run.
 *
 * Whether a statement is looked at is decided when it starts, without a lock and
 * without a look at shared memory: when its kind is new to the session, when the planner
 * expects it to be slow, and else by chance.  When it has ended, it is noted with its
 * values, its search_path and the time that it took.
 *
 * Those of functions, triggers and utility statements are passed over: what a client
 * sent is what the plan of its portal is of.
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "core/core.h"
#include "index/capture.h"
#include "index/capture_id.h"
#include "index/capture_text.h"

/* Kinds that a session remembers, each in the place that is its remainder. */
#define KNOWN 1024

/* One of so many that find another in their place drives it out. */
#define PATIENCE 16

/* In units of the planner: beside such a statement, a look at it takes no time. */
#define SLOW_COST 10000

/* Kilobytes: less is not enough for one large example. */
#define LEAST_SIZE 64

/* A statement that runs, and will be noted. */
typedef struct Running
{
	QueryDesc  *query;
	const char *text;
	int			length;
	int64		query_id;
	double		weight;
	Oid			role;
	char	   *search_path;
	struct Running *next;
	MemoryContextCallback end;
} Running;

static int	size_setting = 1024;
static double rate_setting = 0.002;

static uint64 known[KNOWN];
static int	patience = PATIENCE;

/* Statements until the next one that chance chooses; 0: not drawn yet. */
static int64 until_next = 0;

static Running *running = NULL;

static ExecutorStart_hook_type next_ExecutorStart = NULL;
static ExecutorEnd_hook_type next_ExecutorEnd = NULL;

static bool
is_new(uint64 kind)
{
	uint64	   *place = &known[kind % KNOWN];

	if (*place == kind || (*place != 0 && --patience > 0))
		return false;
	*place = kind;
	patience = PATIENCE;
	return true;
}

/*
 * Returns how many statements there are from one choice to the next.
 */
static int64
draw_gap(void)
{
	double		chance = 1 - pg_prng_double(&pg_global_prng_state);

	if (rate_setting >= 1)
		return 1;
	return 1 + (int64) Min(log(chance) / log1p(-rate_setting), 1e15);
}

/*
 * True when the statement shall be looked at; weight is how many calls it then stands for.
 */
static bool
is_chosen(const PlannedStmt *plan, double *weight)
{
	bool		is_first;

	if (rate_setting <= 0)
		return false;
	is_first = is_new(architect_capture_kind(plan));
	*weight = 0;
	if (plan->planTree->total_cost >= SLOW_COST)
		*weight = 1;
	else
	{
		if (until_next == 0)
			until_next = draw_gap();
		if (--until_next == 0)
			*weight = 1 / rate_setting;
	}
	return is_first || *weight > 0;
}

static bool
is_of_portal(const QueryDesc *query, int flags)
{
	return (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && !IsInParallelMode() && ActivePortal != NULL &&
		query->plannedstmt->canSetTag && list_member_ptr(ActivePortal->stmts, query->plannedstmt);
}

/*
 * True for what a client sent, or prepared before: the cursors of a function have
 * portals too, but texts of their own.
 */
static bool
is_of_client(const char *text)
{
	return debug_query_string != NULL &&
		(strcmp(text, debug_query_string) == 0 || architect_capture_is_prepared(text));
}

static void
end_running(void *argument)
{
	Running   **link = &running;

	while (*link != argument)
		link = &(*link)->next;
	*link = (*link)->next;
}

/*
 * Others may read the time too, and expect all of what they would have asked for.
 */
static void
follow(QueryDesc *query, double weight)
{
	Running    *statement = palloc0(sizeof(Running));

	statement->query = query;
	statement->weight = weight;
	statement->role = GetUserId();
	statement->search_path = pstrdup(namespace_search_path);
	statement->text = architect_capture_find_text(query, &statement->length);
	if (statement->text != NULL)
		statement->query_id = architect_capture_query_id(query, statement->text, statement->length);
	if (statement->query_id == 0)
	{
		architect_capture_count(statement->length > CAPTURE_MOST_TEXT ? CAPTURE_LONG_TEXT : CAPTURE_UNCLEAR_TEXT);
		return;
	}
	if (query->totaltime == NULL)
		query->totaltime = InstrAlloc(1, INSTRUMENT_ALL, false);
	statement->next = running;
	running = statement;
	statement->end.func = end_running;
	statement->end.arg = statement;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &statement->end);
}

static void
start_executor(QueryDesc *query, int flags)
{
	MemoryContext before;
	double		weight;

	if (next_ExecutorStart != NULL)
		next_ExecutorStart(query, flags);
	else
		standard_ExecutorStart(query, flags);
	if (!is_of_portal(query, flags) || !is_chosen(query->plannedstmt, &weight) || !is_of_client(query->sourceText))
		return;
	before = MemoryContextSwitchTo(query->estate->es_query_cxt);
	follow(query, weight);
	MemoryContextSwitchTo(before);
}

/* Parameters, as they become text: of each its length, or -1 for NULL, and its bytes. */
typedef struct Values
{
	ParamListInfo parameters;
	StringInfoData written;
	bool		is_long;
} Values;

static void
set_mode(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
write_value(Values *values, const ParamExternData *parameter)
{
	int32		length = -1;
	Oid			output;
	bool		is_varlena;
	char	   *text;

	if (parameter->isnull || !OidIsValid(parameter->ptype))
	{
		appendBinaryStringInfo(&values->written, (char *) &length, sizeof(length));
		return;
	}
	getTypeOutputInfo(parameter->ptype, &output, &is_varlena);
	values->is_long = is_varlena && toast_raw_datum_size(parameter->value) > CAPTURE_MOST_VALUES;
	if (values->is_long)
		return;
	text = OidOutputFunctionCall(output, parameter->value);
	length = strlen(text);
	appendBinaryStringInfo(&values->written, (char *) &length, sizeof(length));
	appendBinaryStringInfo(&values->written, text, length);
	values->is_long = values->written.len > CAPTURE_MOST_VALUES;
}

/*
 * Writes the values so that sessions with other settings read the same.
 */
static void
write_values(void *argument)
{
	Values	   *values = argument;
	int			level = NewGUCNestLevel();

	if (DateStyle != USE_ISO_DATES)
		set_mode("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		set_mode("intervalstyle", "postgres");
	if (extra_float_digits < 1)
		set_mode("extra_float_digits", "1");
	for (int i = 0; i < values->parameters->numParams && !values->is_long; i++)
		write_value(values, &values->parameters->params[i]);
	AtEOXact_GUC(true, level);
}

/*
 * Adds the values of parameters.  Where that fails the statement is not harmed, and
 * the sighting says so; no subtransaction can be begun beside parallel workers.
 */
static void
add_values(CaptureExample *example, StringInfo bytes, ParamListInfo parameters)
{
	Values		values = {.parameters = parameters};

	if (parameters == NULL || parameters->numParams == 0)
		return;
	initStringInfo(&values.written);
	if (parameters->paramFetch != NULL || IsInParallelMode() || architect_attempt(write_values, &values) != NULL)
		example->outcome = CAPTURE_FAILED_VALUES;
	else if (values.is_long || bytes->len + values.written.len > architect_capture_most_bytes())
		example->outcome = CAPTURE_LONG_VALUES;
	else
	{
		example->nvalues = parameters->numParams;
		appendBinaryStringInfo(bytes, values.written.data, values.written.len);
	}
}

static void
note_statement(const Running *statement)
{
	QueryDesc  *query = statement->query;
	CaptureSighting sighting = {.key = {statement->query_id, MyDatabaseId, statement->role}};
	CaptureExample *example = &sighting.example;
	StringInfoData bytes;

	InstrEndLoop(query->totaltime);
	sighting.weight = statement->weight;
	sighting.milliseconds = query->totaltime->total * 1000;
	example->taken_at = GetCurrentStatementStartTimestamp();
	example->text_length = statement->length;
	example->path_length = strlen(statement->search_path);
	initStringInfo(&bytes);
	if (example->text_length + example->path_length + 2 > Min(CAPTURE_MOST_TEXT, architect_capture_most_bytes()))
		example->outcome = CAPTURE_LONG_TEXT;
	else
	{
		appendBinaryStringInfo(&bytes, statement->text, statement->length);
		appendStringInfoChar(&bytes, '\0');
		appendBinaryStringInfo(&bytes, statement->search_path, example->path_length + 1);
		add_values(example, &bytes, query->params);
	}
	example->length = bytes.len;
	sighting.bytes = bytes.data;
	architect_capture_note(&sighting);
}

static void
end_executor(QueryDesc *query)
{
	for (const Running *statement = running; statement != NULL; statement = statement->next)
	{
		if (statement->query == query)
		{
			MemoryContext before = MemoryContextSwitchTo(query->estate->es_query_cxt);

			note_statement(statement);
			MemoryContextSwitchTo(before);
			break;
		}
	}

	if (next_ExecutorEnd != NULL)
		next_ExecutorEnd(query);
	else
		standard_ExecutorEnd(query);
}

/*
 * Returns why no statements are captured; NULL: they are.
 */
const char *
architect_capture_problem(void)
{
	if (size_setting == 0)
		return "architect.index_capture_size is 0";
	if (!architect_capture_has_store())
		return "pg_architect is not in shared_preload_libraries";
	if (rate_setting <= 0)
		return "architect.index_capture_rate is 0";
	return NULL;
}

static bool
check_size(int *value, void **extra, GucSource source)
{
	if (*value == 0 || *value >= LEAST_SIZE)
		return true;
	GUC_check_errdetail("It is 0, or at least %d kB.", LEAST_SIZE);
	return false;
}

static void
start_anew(double value, void *extra)
{
	until_next = 0;
}

void
architect_capture_init(void)
{
	bool		is_preloaded = process_shared_preload_libraries_in_progress;

	/* A library that comes later can define no setting of the server's start. */
	DefineCustomIntVariable("architect.index_capture_size",
							"Shared memory for statements that are captured for index advice.",
							"0 captures none.",
							&size_setting, 1024, 0, 1024 * 1024,
							is_preloaded ? PGC_POSTMASTER : PGC_SIGHUP, GUC_UNIT_KB,
							check_size, NULL, NULL);
	DefineCustomRealVariable("architect.index_capture_rate",
							 "Share of statements that are captured for index advice.",
							 "Slow ones, and the first of their kind in a session, are captured unless it is 0.",
							 &rate_setting, 0.002, 0, 1,
							 PGC_SUSET, 0,
							 NULL, start_anew, NULL);
	if (!is_preloaded || size_setting == 0)
		return;
	architect_capture_reserve(size_setting);
	next_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	next_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = end_executor;
}
